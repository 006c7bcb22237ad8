/** Bytes that the browser holds: a file that was dropped or picked, or a download kept as a Blob. */

import { SourceError } from "../errors.ts";
import type { Source } from "../weights/source.ts";

/** A Blob, read by ranges. */
export function blobSource(name: string, blob: Blob): Source {
  return {
    name,
    size: blob.size,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      requireRange(name, blob.size, offset, length);
      try {
        const bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
        signal?.throwIfAborted();
        return bytes;
      } catch (cause) {
        signal?.throwIfAborted();
        // The file behind it was changed or removed since it was picked.
        throw new SourceError(name, `could not be read (${cause instanceof Error ? cause.message : cause})`, { cause });
      }
    },
    async close() {},
  };
}

/** @throws SourceError when the bytes are not all inside the file */
export function requireRange(name: string, size: number, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
    throw new SourceError(name, `bytes ${offset} to ${offset + length} were asked for of a file of ${size}`);
  }
}
