/** The shape of attention, and what every attention kernel makes of it. */

import { KEYS_PER_CHUNK } from "./constants.ts";
import { groups } from "./kernel.ts";

/** What every attention kernel reads, in the order of the binding numbers. */
export const ATTENTION_INPUTS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  queries: "read",
  keys: "read",
  values: "read",
  pages: "read",
} as const;

/** Sizes of grouped-query attention. */
export interface HeadShape {
  heads: number;
  kvHeads: number;
  /** A multiple of 8, at most 256. */
  headDim: number;
}

/** What a layer does to scores. */
export interface ScoreRule {
  /** Factor of the scores; 1 / sqrt(headDim) if not given. */
  scale?: number | undefined;
  /** A row at position p sees the keys at positions above p - window; all if not given. */
  window?: number | undefined;
  /** Scaled scores become softCap * tanh(score / softCap); not so if not given. */
  softCap?: number | undefined;
}

/** Largest head the kernels take: what fits into 16 KiB of workgroup memory. */
const LARGEST_HEAD = 256;

/** Chunks of keys that `length` positions take. */
export function chunkCount(length: number): number {
  return groups(length, KEYS_PER_CHUNK);
}

/** Query heads that share a key-value head. */
export function groupSize({ heads, kvHeads }: HeadShape): number {
  return heads / kvHeads;
}

/** @throws RangeError for a shape that the kernels do not take */
export function checkHeadShape({ heads, kvHeads, headDim }: HeadShape): void {
  if (!(Number.isInteger(headDim / 8) && headDim >= 8 && headDim <= LARGEST_HEAD)) {
    throw new RangeError(`attention takes heads of a multiple of 8 up to ${LARGEST_HEAD}, not of ${headDim}`);
  }
  if (!(Number.isInteger(kvHeads) && kvHeads >= 1 && Number.isInteger(heads / kvHeads) && heads >= kvHeads)) {
    throw new RangeError(`${heads} query heads cannot share ${kvHeads} key-value heads evenly`);
  }
}

/**
 * Contents of the `Shape` uniform (shaders/attention/visible_keys.wgsl).
 * @param contextLength positions that the partial results of few rows have room for
 * @param attendedStride elements from row to row of the result
 * @param lanePages entries of the page table a text; of no matter where there is one text
 * @throws RangeError for what no kernel takes
 */
export function attentionShape(
  shape: HeadShape,
  contextLength: number,
  { scale = 1 / Math.sqrt(shape.headDim), window, softCap }: ScoreRule = {},
  attendedStride = shape.heads * shape.headDim,
  lanePages = 0,
): Uint32Array<ArrayBuffer> {
  checkHeadShape(shape);
  if (window !== undefined && !(Number.isInteger(window) && window >= 1)) {
    throw new RangeError(`a window of ${window} positions`);
  }
  if (softCap !== undefined && !(softCap > 0 && Number.isFinite(softCap))) {
    throw new RangeError(`a soft cap of ${softCap}`);
  }
  if (!Number.isFinite(scale)) throw new RangeError(`a scale of ${scale}`);
  const words = new Uint32Array([
    shape.heads,
    shape.kvHeads,
    chunkCount(contextLength),
    0,
    window ?? 0,
    0,
    attendedStride / 4,
    lanePages,
  ]);
  const numbers = new Float32Array(words.buffer);
  numbers[3] = scale;
  numbers[5] = softCap ?? 0;
  return words;
}
