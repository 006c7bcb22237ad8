/** The chunks that a file is fetched and stored in: each with its SHA-256 behind it, so that it counts only while it is right. */

import type { Piece } from "../sources/remote.ts";

/** Bytes of a chunk: what a broken download may lose, and what the smallest read takes. */
export const CHUNK_BYTES = 4 * 2 ** 20;

/** SHA-256 behind each chunk. */
const SUM_BYTES = 32;

export interface Chunk {
  index: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Pieces that begin at a chunk, as chunks.
 * @param size of the file; infinite where it shows only at its end, whose chunk may be short
 */
export async function* chunksOf(
  pieces: AsyncGenerator<Piece>,
  size: number,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Chunk> {
  let chunk: Chunk | undefined;
  let filled = 0;
  for await (const { offset, bytes } of pieces) {
    onBytes(bytes.length);
    for (let taken = 0; taken < bytes.length; ) {
      if (!chunk) {
        const index = (offset + taken) / CHUNK_BYTES;
        chunk = { index, bytes: new Uint8Array(chunkLength(size, index)) };
        filled = 0;
      }
      const part = bytes.subarray(taken, taken + chunk.bytes.length - filled);
      chunk.bytes.set(part, filled);
      taken += part.length;
      filled += part.length;
      if (filled < chunk.bytes.length) continue;
      yield chunk;
      chunk = undefined;
    }
  }
  if (chunk && size === Number.POSITIVE_INFINITY) yield { index: chunk.index, bytes: chunk.bytes.slice(0, filled) };
}

/** A chunk as it is stored: with its SHA-256 behind it. */
export async function storedChunk(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>[]> {
  return [bytes, await sumOf(bytes)];
}

/** Bytes of chunk `k` of a file: the last one is short. */
export function chunkLength(size: number, k: number): number {
  return Math.min(CHUNK_BYTES, size - k * CHUNK_BYTES);
}

/** Bytes that chunk `k` of a file takes in the store. */
export function storedLength(size: number, k: number): number {
  return chunkLength(size, k) + SUM_BYTES;
}

/** The chunk of `length` bytes that was stored; undefined where it is not what was written. */
export async function chunkIn(
  stored: Uint8Array<ArrayBuffer>,
  length: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (stored.length !== length + SUM_BYTES) return undefined;
  const bytes = stored.subarray(0, length);
  return same(await sumOf(bytes), stored.subarray(length)) ? bytes : undefined;
}

async function sumOf(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
