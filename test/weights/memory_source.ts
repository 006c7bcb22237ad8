/** A file in memory that watches what is asked of it. */

import type { Source } from "../../src/weights/source.ts";

export interface MemorySource extends Source {
  /** Lengths of the ranges that were read, in order. */
  readonly reads: number[];
}

/**
 * A file of `bytes`, whose reads must stay inside it.
 * @param size the file's size where it is larger: what lies behind `bytes` is zeros that nobody may read
 */
export function memorySource(bytes: Uint8Array, name = "m.gguf", size = bytes.length): MemorySource {
  const reads: number[] = [];
  return {
    name,
    size,
    reads,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      const inside = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
      if (!inside || offset + length > size) {
        throw new RangeError(`${length} bytes from ${offset} on were asked of a file of ${size}`);
      }
      reads.push(length);
      const range = new Uint8Array(length);
      range.set(bytes.subarray(offset, offset + length));
      return range;
    },
    async close() {},
  };
}
