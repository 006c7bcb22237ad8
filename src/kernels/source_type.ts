/**
 * How a file stores the numbers of a matrix: floats, or the block codes of GGUF. Sizes, and the weight format that holds
 * each exactly.
 *
 * Source: `ggml-common.h` of https://github.com/ggml-org/llama.cpp, which defines the blocks.
 */

import type { WeightFormat } from "./weight_format.ts";

/** Elements that are stored one by one. */
export type FloatType = "F32" | "F16" | "BF16";

/** Blocks of GGUF: codes of a few bits with what scales them. */
export type GgufBlockType =
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "Q8_0"
  | "Q2_K"
  | "Q3_K"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K"
  | "IQ4_NL"
  | "IQ4_XS";

/** What a matrix can be loaded from. */
export type SourceType = FloatType | GgufBlockType;

export interface SourceLayout {
  /** Elements of a block, all of one row. A float is a block of one. */
  elements: number;
  /** Bytes of a block. */
  bytes: number;
  /** The format that holds every number a block can. */
  exact: WeightFormat;
}

/** The levels of IQ4_NL and IQ4_XS. */
export const IQ4_LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const Q4 = { type: "q4", block: 32 } as const;
const Q8 = { type: "q8", block: 32 } as const;

/** Where a block has one f16 scale, it is taken as it is; where scales are nested, their product needs f32. */
export const SOURCE_LAYOUTS: Record<SourceType, SourceLayout> = {
  F32: { elements: 1, bytes: 4, exact: { type: "f32" } },
  F16: { elements: 1, bytes: 2, exact: { type: "f16" } },
  BF16: { elements: 1, bytes: 2, exact: { type: "f32" } },
  Q4_0: { elements: 32, bytes: 18, exact: { ...Q4, codes: "symmetric", scale: "f16" } },
  Q4_1: { elements: 32, bytes: 20, exact: { ...Q4, codes: "minimum", scale: "f16" } },
  Q5_0: { elements: 32, bytes: 22, exact: { ...Q8, codes: "symmetric", scale: "f16" } },
  Q5_1: { elements: 32, bytes: 24, exact: { ...Q8, codes: "minimum", scale: "f16" } },
  Q8_0: { elements: 32, bytes: 34, exact: { ...Q8, codes: "symmetric", scale: "f16" } },
  Q2_K: { elements: 256, bytes: 84, exact: { type: "q4", block: 16, codes: "minimum", scale: "f32" } },
  Q3_K: { elements: 256, bytes: 110, exact: { type: "q4", block: 16, codes: "symmetric", scale: "f32" } },
  Q4_K: { elements: 256, bytes: 144, exact: { ...Q4, codes: "minimum", scale: "f32" } },
  Q5_K: { elements: 256, bytes: 176, exact: { ...Q8, codes: "minimum", scale: "f32" } },
  Q6_K: { elements: 256, bytes: 210, exact: { type: "q8", block: 16, codes: "symmetric", scale: "f32" } },
  IQ4_NL: { elements: 32, bytes: 18, exact: { ...Q4, codes: "codebook", scale: "f16", codebook: IQ4_LEVELS } },
  IQ4_XS: { elements: 256, bytes: 136, exact: { ...Q4, codes: "codebook", scale: "f32", codebook: IQ4_LEVELS } },
};

/** The types of blocks. */
export const GGUF_BLOCK_TYPES = (Object.keys(SOURCE_LAYOUTS) as SourceType[]).filter(
  (type) => !isFloat(type),
) as GgufBlockType[];

/** Whether elements are stored one by one. */
export function isFloat(type: SourceType): type is FloatType {
  return SOURCE_LAYOUTS[type].elements === 1;
}

/** Bytes of a row of `inputSize` elements, a multiple of the block's. */
export function rowBytes(type: SourceType, inputSize: number): number {
  const { elements, bytes } = SOURCE_LAYOUTS[type];
  return (inputSize / elements) * bytes;
}
