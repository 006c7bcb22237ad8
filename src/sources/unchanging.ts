/**
 * Files that have to stay as they were when they were first read: a model that recovers reads its weights again, and others would go on with
 * another text.
 *
 * Of weights not all bytes are kept in mind, but 64 of every 4 KiB: two trainings of a model differ nearly everywhere. Small files are, whole.
 */

import { SourceError } from "../errors.ts";
import type { Folder, Source } from "../weights/source.ts";

/** A sample begins at each multiple of so many bytes of a file, and has so many. Of a small file, every byte is in one. */
const STRIDE = 4 * 2 ** 10;
const SAMPLE = 64;
const SMALL_FILE = 2 ** 20;

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
      const known = samples.get(path) ?? newSamples(source.size);
      samples.set(path, known);
      if (known.size === source.size) return sampled(source, known);
      await source.close();
      throw changed(source);
    },
  };
}

interface Samples {
  readonly size: number;
  readonly stride: number;
  /** By number of the sample; 0 where it has not been read. */
  readonly hashes: Uint32Array;
}

function newSamples(size: number): Samples {
  const stride = size <= SMALL_FILE ? SAMPLE : STRIDE;
  return { size, stride, hashes: new Uint32Array(Math.ceil(size / stride)) };
}

function sampled(source: Source, { size, stride, hashes }: Samples): Source {
  const { missing } = source;
  return {
    name: source.name,
    size: source.size,
    ...(missing !== undefined && { missing }),
    async read(offset, length, signal) {
      const bytes = await source.read(offset, length, signal);
      const end = offset + length;
      for (let i = Math.ceil(offset / stride); i < hashes.length; i++) {
        const from = i * stride;
        const to = Math.min(from + SAMPLE, size);
        if (to > end) break;
        const hash = fnv1a(bytes, from - offset, to - offset);
        hashes[i] ||= hash;
        if (hashes[i] !== hash) throw changed(source);
      }
      return bytes;
    },
    close: () => source.close(),
  };
}

/** Of a sample (FNV-1a, 32 bits: Fowler, Noll, Vo); never 0. */
function fnv1a(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5;
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash >>> 0 || 1;
}

function changed({ name }: Source): SourceError {
  return new SourceError(name, "has changed since the model was loaded: load it again");
}
