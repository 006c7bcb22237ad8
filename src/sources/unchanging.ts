/**
 * Files that have to stay as they were when they were first read: a model that recovers reads its weights again, and others would go on with
 * another text.
 *
 * Not all bytes are kept in mind, but some of each 64 KiB: two trainings of a model differ nearly everywhere.
 */

import { SourceError } from "../errors.ts";
import type { Folder, Source } from "../weights/source.ts";

/** A sample begins at each multiple of so many bytes of a file, and is so long. */
const STRIDE = 64 * 2 ** 10;
const SAMPLE = 64;

/** The same folder, whose files throw a SourceError when they are read again and have changed. */
export function unchanging(folder: Folder): Folder {
  const samples = new Map<string, Samples>();
  const { list, verified } = folder;
  return {
    name: folder.name,
    ...(list && { list: (signal) => list.call(folder, signal) }),
    ...(verified && { verified: (signal) => verified.call(folder, signal) }),
    async open(path, signal) {
      const source = await folder.open(path, signal);
      if (!source) return undefined;
      const known = samples.get(path) ?? { size: source.size, hashes: new Map() };
      samples.set(path, known);
      if (known.size === source.size) return sampled(source, known);
      await source.close();
      throw changed(source);
    },
  };
}

interface Samples {
  readonly size: number;
  /** By number of the sample. */
  readonly hashes: Map<number, number>;
}

function sampled(source: Source, { hashes }: Samples): Source {
  const { missing } = source;
  return {
    name: source.name,
    size: source.size,
    ...(missing !== undefined && { missing }),
    async read(offset, length, signal) {
      const bytes = await source.read(offset, length, signal);
      for (let i = Math.ceil(offset / STRIDE); i * STRIDE + SAMPLE <= offset + length; i++) {
        const hash = fnv1a(bytes, i * STRIDE - offset);
        const known = hashes.get(i);
        if (known === undefined) hashes.set(i, hash);
        else if (known !== hash) throw changed(source);
      }
      return bytes;
    },
    close: () => source.close(),
  };
}

/** Of a sample (FNV-1a, 32 bits: Fowler, Noll, Vo). */
function fnv1a(bytes: Uint8Array, at: number): number {
  let hash = 0x811c9dc5;
  for (let i = at; i < at + SAMPLE; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash;
}

function changed({ name }: Source): SourceError {
  return new SourceError(name, "has changed since the model was loaded: load it again");
}
