/**
 * Lays a file's rows into a matrix of any format.
 *
 * Floats are laid by repack_floats.wgsl, block codes by lay_blocks.wgsl (shaders/weights/): those of GGUF move as they are
 * into a format of the same codes; everything else is quantised.
 */

import elements from "../../shaders/weights/gguf/elements.wgsl?raw";
import moveBlocks from "../../shaders/weights/gguf/move_blocks.wgsl?raw";
import half from "../../shaders/weights/half.wgsl?raw";
import layBlocks from "../../shaders/weights/lay_blocks.wgsl?raw";
import fitExtreme from "../../shaders/weights/quantise/fit_extreme.wgsl?raw";
import fitMinimum from "../../shaders/weights/quantise/fit_minimum.wgsl?raw";
import nearestCodebook from "../../shaders/weights/quantise/nearest_codebook.wgsl?raw";
import nearestLinear from "../../shaders/weights/quantise/nearest_linear.wgsl?raw";
import quantise from "../../shaders/weights/quantise/quantise.wgsl?raw";
import storedF16 from "../../shaders/weights/quantise/stored_f16.wgsl?raw";
import storedF32 from "../../shaders/weights/quantise/stored_f32.wgsl?raw";
import repackFloats from "../../shaders/weights/repack_floats.wgsl?raw";
import source from "../../shaders/weights/source.wgsl?raw";
import sourceFloats from "../../shaders/weights/source_floats.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Constants } from "../gpu/pipelines.ts";
import type { HeadOrder } from "../model/spec.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { ggufCode } from "./gguf_code.ts";
import { groups, Kernel } from "./kernel.ts";
import { isFloat, SOURCE_LAYOUTS, type SourceType } from "./source_type.ts";
import { type BlockFormat, formatCode, isBlockFormat, STEP, type WeightFormat } from "./weight_format.ts";

const BINDINGS = { shape: "uniform", source: "read", weight: "read-write", scales: "read-write" } as const;

/** WebGPU's limit of workgroups in a dimension; the kernels walk on where there are more units. */
const MAX_WORKGROUPS = 65535;

/** Bytes of the `Shape` uniform. */
export const REPACK_SHAPE_BYTES = 32;

/**
 * Contents of the `Shape` uniform: `rows` rows of `inputSize` elements, from row `firstRow` of a tensor on, become columns of
 * a matrix of `columns`.
 * @param firstColumn the column that row 0 of the tensor becomes
 * @param headOrder how the tensor orders the rows of its heads, where it is not the engine's order
 */
export function repackShape(
  rows: number,
  inputSize: number,
  firstColumn: number,
  columns: number,
  firstRow = 0,
  headOrder?: HeadOrder,
): Uint32Array<ArrayBuffer> {
  const { headDim = 0, rotaryDim = 0, interleaved = false } = headOrder ?? {};
  return new Uint32Array([
    ...[rows, inputSize / 4, firstColumn, columns, firstRow],
    ...[headDim, rotaryDim, Number(interleaved)],
  ]);
}

/** Elements of a column that one thread handles. */
function unitSize(format: WeightFormat): number {
  const step = STEP[format.type];
  if (!isBlockFormat(format)) return step;
  // Two f16 scales without minima share a word.
  const together = format.scale === "f16" && format.codes !== "minimum" ? 2 : 1;
  return Math.max(step, together * format.block);
}

export class Repack extends Kernel<keyof typeof BINDINGS> {
  readonly #unit: number;

  /**
   * @param type what the file stores
   * @param format the matrix's
   */
  constructor(device: Device, type: SourceType, format: WeightFormat) {
    const pieces = [sourcePieces(type, format), layingPieces(type, format)];
    super(
      device,
      {
        name: nameOf(type, format),
        code: [source, half, ...pieces.flatMap(({ code }) => code)],
        bindings: BINDINGS,
      },
      {
        ...COMMON_CONSTANTS,
        VECTORS: STEP[format.type] / 4,
        ...pieces[0]!.constants,
        ...pieces[1]!.constants,
      },
    );
    this.#unit = unitSize(format);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup, rows: number, inputSize: number): void {
    const units = Math.min(groups(inputSize, this.#unit), MAX_WORKGROUPS);
    this.record(recorder, group, undefined, [groups(rows, WORKGROUP), units]);
  }
}

interface Pieces {
  code: readonly string[];
  constants: Constants;
}

function nameOf(type: SourceType, format: WeightFormat): string {
  if (!isBlockFormat(format)) return `weights/repack ${format.type}`;
  return movesInto(type, format) ? `weights/move ${type}` : `weights/quantise ${format.type} ${format.codes}`;
}

/**
 * Whether blocks of a type move into a format as they are: the codes are the same, and the scales' type holds the scales.
 * What else is needed is more than moving.
 */
export function movesInto(type: SourceType, format: WeightFormat): boolean {
  const { exact } = SOURCE_LAYOUTS[type];
  return (
    isBlockFormat(exact) &&
    isBlockFormat(format) &&
    exact.type === format.type &&
    exact.codes === format.codes &&
    exact.block === format.block &&
    (exact.scale === "f16" || format.scale === "f32") &&
    String(exact.codebook) === String(format.codebook)
  );
}

/** What reads the source: its numbers, or where they are moved, its codes. */
function sourcePieces(type: SourceType, format: WeightFormat): Pieces {
  if (isFloat(type)) {
    return {
      code: [sourceFloats],
      constants: {
        ELEMENT_F32: Number(type === "F32"),
        ELEMENT_F16: Number(type === "F16"),
        ELEMENT_BF16: Number(type === "BF16"),
      },
    };
  }
  const { code, constants } = ggufCode(type);
  return { code: [...code, movesInto(type, format) ? moveBlocks : elements], constants };
}

/** What lays out the matrix. */
function layingPieces(type: SourceType, format: WeightFormat): Pieces {
  if (!isBlockFormat(format)) return { code: [repackFloats], constants: {} };
  const { type: codeType, block, codes, scale } = format;
  const unit = unitSize(format);
  const constants = {
    CODE_BITS: codeType === "q8" ? 8 : 4,
    BLOCK_VECTORS: block / 4,
    UNIT_BLOCKS: unit / block,
    UNIT_STEPS: unit / STEP[codeType],
    MINIMUM: Number(codes === "minimum"),
    SCALE_F16: Number(scale === "f16"),
  };
  if (movesInto(type, format)) return { code: [layBlocks], constants };
  const fit = codes === "minimum" ? fitMinimum : fitExtreme;
  const nearest = codes === "codebook" ? nearestCodebook : nearestLinear;
  return {
    code: [layBlocks, quantise, fit, nearest, scale === "f32" ? storedF32 : storedF16],
    constants: { ...constants, ...codeConstants(format) },
  };
}

/** What codes there are and where the scale puts them. */
function codeConstants(format: BlockFormat): Constants {
  const { type, codes, codebook = [] } = format;
  const float = (value: number) => `f32(${value})`;
  const linear = (lowest: number, highest: number, full: number) => ({
    LOWEST_CODE: float(lowest),
    HIGHEST_CODE: float(highest),
    CODE_OFFSET: type === "q4" && codes === "symmetric" ? 8 : 0,
    FULL_CODE: float(full),
    REACH: float(Math.abs(full) + 0.5),
  });
  if (codes === "minimum") {
    const highest = type === "q8" ? 255 : 15;
    return linear(0, highest, highest);
  }
  if (codes === "symmetric") {
    return { ...(type === "q8" ? linear(-127, 127, 127) : linear(-8, 7, -8)), TWO_SIDED: Number(type === "q8") };
  }
  const full = codebook.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
  return {
    CODEBOOK: formatCode(format).constants.CODEBOOK!,
    CODEBOOK_SIZE: codebook.length,
    FULL_CODE: float(full),
    REACH: float(Math.abs(full) * (1 + 2 ** -10)), // rounding to f16 takes up to half of that
    TWO_SIDED: 0,
  };
}
