/** How keys and values are held in the cache: the formats, and the WGSL piece that reads each. */

import kvF16 from "../../shaders/attention/kv_f16.wgsl?raw";
import kvF32 from "../../shaders/attention/kv_f32.wgsl?raw";
import { half as fromHalf } from "./weight_codec.ts";

/**
 * Format of the cache's numbers.
 *
 * - `f32`: `[slot][kvHeads][headDim]`.
 * - `f16`: `[slot][kvHeads][headDim / 2]` words; word p packs elements p (low half) and p + headDim / 2.
 */
export type KvType = "f32" | "f16";

/** Bytes of a number in the cache. */
export const KV_BYTES: Readonly<Record<KvType, number>> = { f32: 4, f16: 2 };

/** The piece of an attention kernel that declares `keys` and `values` and loads from them. */
export const KV_PIECES: Readonly<Record<KvType, string>> = { f32: kvF32, f16: kvF16 };

/** A cache as numbers, `[slot][kvHeads][headDim]`. */
export function cacheNumbers(kv: KvType, headDim: number, words: Uint32Array<ArrayBuffer>): Float32Array {
  if (kv === "f32") return new Float32Array(words.buffer);
  const half = headDim / 2;
  const numbers = new Float32Array(words.length * 2);
  for (const [i, word] of words.entries()) {
    const begin = Math.floor(i / half) * headDim + (i % half);
    numbers[begin] = fromHalf(word & 0xffff);
    numbers[begin + half] = fromHalf(word >>> 16);
  }
  return numbers;
}
