/** Data types a model can be held in on the GPU, and the weight formats they stand for. */

import { SOURCE_LAYOUTS, type SourceType } from "../kernels/source_type.ts";
import { type BlockFormat, isBlockFormat, type WeightFormat } from "../kernels/weight_format.ts";
import type { Dtype } from "../types.ts";

export const DTYPES: readonly Dtype[] = ["f32", "f16", "q8", "q4"];

/** What a matrix is for: of a layer, or embedding and head. */
export type MatrixRole = "layers" | "head";

/** Formats of a model's matrices. Norms are vectors of f32 always. */
export type ModelFormats = Readonly<Record<MatrixRole, WeightFormat>>;

/** Blocks of 32 with a scale in f16: 8.5 and 4.5 bits an element, what llama.cpp calls Q8_0 and Q4_0. */
const Q8: BlockFormat = { type: "q8", codes: "symmetric", block: 32, scale: "f16" };
const Q4: BlockFormat = { type: "q4", codes: "symmetric", block: 32, scale: "f16" };

const FORMATS: Record<Dtype, ModelFormats> = {
  f32: { layers: { type: "f32" }, head: { type: "f32" } },
  f16: { layers: { type: "f16" }, head: { type: "f16" } },
  q8: { layers: Q8, head: Q8 },
  // The head decides between near-ties, and the embedding is where all begins: 4 bits cost more there than they save.
  q4: { layers: Q4, head: Q8 },
};

export function formatsOf(dtype: Dtype): ModelFormats {
  return FORMATS[dtype];
}

/** How matrices are held: all in one data type, or block codes as their file has them and floats in that type. */
export interface Holding {
  dtype: Dtype;
  keepsBlocks: boolean;
}

/** The format of a matrix that is stored as `type`. */
export function formatOf({ dtype, keepsBlocks }: Holding, role: MatrixRole, type: SourceType): WeightFormat {
  const { exact } = SOURCE_LAYOUTS[type];
  return keepsBlocks && isBlockFormat(exact) ? exact : formatsOf(dtype)[role];
}
