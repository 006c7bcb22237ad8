/** How keys and values are held in the cache: the formats, and the WGSL piece that reads each. */

import kvF16 from "../../shaders/attention/kv_f16.wgsl?raw";
import kvF32 from "../../shaders/attention/kv_f32.wgsl?raw";

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
