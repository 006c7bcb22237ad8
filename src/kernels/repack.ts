/** Lays a checkpoint's rows into a matrix of any format (shaders/weights/repack_floats.wgsl, quantise/quantise.wgsl). */

import half from "../../shaders/weights/half.wgsl?raw";
import fitExtreme from "../../shaders/weights/quantise/fit_extreme.wgsl?raw";
import fitMinimum from "../../shaders/weights/quantise/fit_minimum.wgsl?raw";
import nearestCodebook from "../../shaders/weights/quantise/nearest_codebook.wgsl?raw";
import nearestLinear from "../../shaders/weights/quantise/nearest_linear.wgsl?raw";
import quantise from "../../shaders/weights/quantise/quantise.wgsl?raw";
import storedF16 from "../../shaders/weights/quantise/stored_f16.wgsl?raw";
import storedF32 from "../../shaders/weights/quantise/stored_f32.wgsl?raw";
import repackFloats from "../../shaders/weights/repack_floats.wgsl?raw";
import source from "../../shaders/weights/source.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Constants } from "../gpu/pipelines.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel } from "./kernel.ts";
import { type BlockFormat, formatCode, isBlockFormat, STEP, type WeightFormat } from "./weight_format.ts";

/** Element types of a checkpoint. */
export type FloatType = "F32" | "F16" | "BF16";

const BINDINGS = { shape: "uniform", source: "read", weight: "read-write", scales: "read-write" } as const;

/** WebGPU's limit of workgroups in a dimension; the kernels walk on where there are more units. */
const MAX_WORKGROUPS = 65535;

/** Contents of the `Shape` uniform: `rows` rows of `inputSize` elements become columns `firstColumn` and on of `columns`. */
export function repackShape(
  rows: number,
  inputSize: number,
  firstColumn: number,
  columns: number,
): Uint32Array<ArrayBuffer> {
  return new Uint32Array([rows, inputSize / 4, firstColumn, columns]);
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
   * @param type the source's element type
   * @param format the matrix's
   */
  constructor(device: Device, type: FloatType, format: WeightFormat) {
    const { name, code, constants } = isBlockFormat(format) ? quantising(format) : repacking(format.type);
    super(
      device,
      { name, code, bindings: BINDINGS },
      {
        ...COMMON_CONSTANTS,
        ELEMENT_F32: Number(type === "F32"),
        ELEMENT_F16: Number(type === "F16"),
        ELEMENT_BF16: Number(type === "BF16"),
        VECTORS: STEP[format.type] / 4,
        ...constants,
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
  name: string;
  code: readonly string[];
  constants: Constants;
}

function repacking(type: "f32" | "f16"): Pieces {
  return { name: `weights/repack ${type}`, code: [source, half, repackFloats], constants: {} };
}

function quantising(format: BlockFormat): Pieces {
  const { type, codes, block, scale } = format;
  const unit = unitSize(format);
  const fit = codes === "minimum" ? fitMinimum : fitExtreme;
  const nearest = codes === "codebook" ? nearestCodebook : nearestLinear;
  return {
    name: `weights/quantise ${type} ${codes}`,
    code: [source, half, quantise, fit, nearest, scale === "f32" ? storedF32 : storedF16],
    constants: {
      CODE_BITS: type === "q8" ? 8 : 4,
      BLOCK_VECTORS: block / 4,
      UNIT_BLOCKS: unit / block,
      UNIT_STEPS: unit / STEP[type],
      MINIMUM: Number(codes === "minimum"),
      SCALE_F16: Number(scale === "f16"),
      ...codeConstants(format),
    },
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
