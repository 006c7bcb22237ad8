/**
 * Weight formats: how a matrix lies on the GPU, and the WGSL pieces that read it (shaders/weights/formats/README.md).
 *
 * A matrix of K inputs and N columns is `weight`, `[ceil(K / step)][N]` of 16 bytes, and `scales`, `[blocks][N]`. Sums are
 * always f32.
 */

import codesCodebook from "../../shaders/weights/formats/codes_codebook.wgsl?raw";
import codesLinear from "../../shaders/weights/formats/codes_linear.wgsl?raw";
import f16 from "../../shaders/weights/formats/f16.wgsl?raw";
import f32 from "../../shaders/weights/formats/f32.wgsl?raw";
import q4 from "../../shaders/weights/formats/q4.wgsl?raw";
import q8 from "../../shaders/weights/formats/q8.wgsl?raw";
import scaleF16 from "../../shaders/weights/formats/scale_f16.wgsl?raw";
import scaleF32 from "../../shaders/weights/formats/scale_f32.wgsl?raw";
import scaleMinimumF16 from "../../shaders/weights/formats/scale_minimum_f16.wgsl?raw";
import scaleMinimumF32 from "../../shaders/weights/formats/scale_minimum_f32.wgsl?raw";
import type { Constants } from "../gpu/pipelines.ts";

/** Elements as they are. */
export interface FloatFormat {
  type: "f32" | "f16";
}

/** Codes of a few bits and a scale a block: element = scale * code, or scale * code + minimum. */
export interface BlockFormat {
  type: "q8" | "q4";
  /**
   * What a code stands for. `symmetric`: a signed number (int8; a 4-bit code less 8). `minimum`: an unsigned number, and
   * each block has a minimum. `codebook`: a place in `codebook`.
   */
  codes: "symmetric" | "minimum" | "codebook";
  /** Elements a scale serves. */
  block: 16 | 32;
  /** Type of scales and minima. */
  scale: "f16" | "f32";
  /** 16 or 256 numbers, for codes that are places in it. */
  codebook?: readonly number[];
}

export type WeightFormat = FloatFormat | BlockFormat;

/** Elements of a column that 16 bytes hold. */
export const STEP = { f32: 4, f16: 8, q8: 16, q4: 32 } as const;

/** Input rows are padded with zeros to a multiple of this many elements, the longest step. */
export const ROW_PADDING = 32;

/** Length of an input row on the GPU, in f32. */
export function paddedSize(size: number): number {
  return Math.ceil(size / ROW_PADDING) * ROW_PADDING;
}

export function isBlockFormat(format: WeightFormat): format is BlockFormat {
  return format.type === "q8" || format.type === "q4";
}

/** Steps of a column of `inputSize` elements. */
export function stepCount(format: WeightFormat, inputSize: number): number {
  return Math.ceil(inputSize / STEP[format.type]);
}

/** Bytes of the `weight` buffer. */
export function weightBytes(format: WeightFormat, inputSize: number, columns: number): number {
  return stepCount(format, inputSize) * columns * 16;
}

/** Words a block and column takes in `scales`, as a fraction: two f16 scales share one. */
function scaleWords(format: BlockFormat): number {
  return (format.codes === "minimum" ? 2 : 1) * (format.scale === "f16" ? 0.5 : 1);
}

/** Blocks of a padded column. Whole pairs where two scales share a word. */
export function blockCount(format: BlockFormat, inputSize: number): number {
  const step = STEP[format.type];
  const blocks = Math.ceil((stepCount(format, inputSize) * step) / format.block);
  return scaleWords(format) < 1 ? Math.ceil(blocks / 2) * 2 : blocks;
}

/** Bytes of the `scales` buffer; one word where the format has no scales. */
export function scaleBytes(format: WeightFormat, inputSize: number, columns: number): number {
  return isBlockFormat(format) ? blockCount(format, inputSize) * columns * scaleWords(format) * 4 : 4;
}

/** The pieces of WGSL that read a format, and their constants. */
export function formatCode(format: WeightFormat): { code: readonly string[]; constants: Constants } {
  if (!isBlockFormat(format)) {
    return { code: [format.type === "f32" ? f32 : f16], constants: { VECTORS: STEP[format.type] / 4 } };
  }
  const { type, codes, block, scale, codebook } = format;
  const minimum = codes === "minimum";
  const scales = scale === "f32" ? (minimum ? scaleMinimumF32 : scaleF32) : minimum ? scaleMinimumF16 : scaleF16;
  const groups = Math.max(1, STEP[type] / block);
  return {
    code: [type === "q8" ? q8 : q4, codes === "codebook" ? codesCodebook : codesLinear, scales],
    constants: {
      VECTORS: STEP[type] / 4,
      GROUPS: groups,
      GROUP_VECTORS: STEP[type] / groups / 4,
      STEPS_PER_BLOCK: Math.max(1, block / STEP[type]),
      CODE_SIGNED: Number(type === "q8" && codes === "symmetric"),
      CODE_OFFSET: type === "q4" && codes === "symmetric" ? 8 : 0,
      ...(codes === "codebook" && { CODEBOOK: codebookLiteral(codebook ?? []) }),
    },
  };
}

function codebookLiteral(codebook: readonly number[]): string {
  if (codebook.length !== 16 && codebook.length !== 256) {
    throw new RangeError(`a codebook has 16 or 256 entries, found ${codebook.length}`);
  }
  return `array<f32, ${codebook.length}>(${codebook.map((entry) => `f32(${entry})`).join(", ")})`;
}

/** A format in a few letters, for names: `f16`, `q4/32 symmetric f16`. */
export function formatName(format: WeightFormat): string {
  return isBlockFormat(format) ? `${format.type}/${format.block} ${format.codes} ${format.scale}` : format.type;
}
