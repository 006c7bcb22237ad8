/**
 * A folder on a server, read as it is: each read is a request of its own. A server that gives no ranges has its file fetched
 * once and kept as a Blob, which the browser may hold on disk.
 */

import { SourceError } from "../errors.ts";
import type { Folder, Source } from "../weights/source.ts";
import { blobSource, requireRange } from "./blob_source.ts";
import type { Piece, RemoteFile, RemoteFolder } from "./remote.ts";

/** Told of every byte that came over the network. */
export type OnBytes = (bytes: number, file: RemoteFile) => void;

export function directFolder(remote: RemoteFolder, onBytes?: OnBytes): Folder {
  const { list } = remote;
  return {
    name: remote.name,
    ...(list && { list: (signal?: AbortSignal) => list.call(remote, signal) }),
    async open(path, signal) {
      const file = await remote.open(path, signal);
      return file && directSource(file, signal, onBytes);
    },
  };
}

/**
 * A file on a server as a source.
 * @throws SourceError when it has to be fetched whole and cannot; the signal's reason
 */
export async function directSource(file: RemoteFile, signal?: AbortSignal, onBytes?: OnBytes): Promise<Source> {
  const { name, size } = file;
  const pieces = (from: number, to?: number, signal?: AbortSignal) => counted(file, from, to, signal, onBytes);
  if (size === undefined || !file.ranges) return blobSource(name, await gather(file, pieces(0, size, signal)));
  /** Everything, once the server has stopped to give ranges. */
  let whole: Source | undefined;
  return {
    name,
    size,
    missing: size,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      requireRange(name, size, offset, length);
      if (whole) return whole.read(offset, length, signal);
      const found = new Uint8Array(length);
      if (length === 0) return found;
      let first = true;
      for await (const { offset: at, bytes } of pieces(offset, offset + length, signal)) {
        if (first && at !== offset) break;
        first = false;
        found.set(bytes, at - offset);
      }
      if (!first) return found;
      whole = blobSource(name, await gather(file, pieces(0, size, signal)));
      return whole.read(offset, length, signal);
    },
    async close() {
      whole = undefined;
      await file.close();
    },
  };
}

async function* counted(
  file: RemoteFile,
  from: number,
  to: number | undefined,
  signal: AbortSignal | undefined,
  onBytes: OnBytes | undefined,
): AsyncGenerator<Piece> {
  for await (const piece of file.pieces(from, to, signal)) {
    onBytes?.(piece.bytes.length, file);
    yield piece;
  }
}

/** Pieces from 0 on as one Blob: joined every so often, for the browser to take them out of memory. */
async function gather(file: RemoteFile, pieces: AsyncGenerator<Piece>): Promise<Blob> {
  const JOINED_BYTES = 16 * 2 ** 20;
  const blobs: Blob[] = [];
  let parts: Uint8Array<ArrayBuffer>[] = [];
  let held = 0;
  let total = 0;
  for await (const { bytes } of pieces) {
    parts.push(Uint8Array.from(bytes));
    held += bytes.length;
    total += bytes.length;
    if (held < JOINED_BYTES) continue;
    blobs.push(new Blob(parts));
    parts = [];
    held = 0;
  }
  if (file.size !== undefined && total !== file.size) {
    throw new SourceError(file.name, `the server announced ${file.size} bytes and sent ${total}`);
  }
  return new Blob([...blobs, ...parts]);
}
