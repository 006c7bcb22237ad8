/**
 * The many-row matmul: prompt rows, whose result depends neither on the other rows nor on how the prompt was cut.
 *
 * Three kernels make it; a device uses one of them for all prompt rows:
 * - `tiles` (shaders/matmul/many_rows_tiles.wgsl): for GPUs.
 * - `thread`: the few-row kernel (few_rows.wgsl) in slabs of always the same M, padded. It has no barrier, which is what a
 *   software adapter is slow at.
 * - `int8` (many_rows_int8.wgsl): quantises the rows too and multiplies integers. Symmetric block codes only, and only where
 *   it is asked for: it changes ids.
 */

import dotBlocks from "../../shaders/matmul/dot_blocks.wgsl?raw";
import dotFloats from "../../shaders/matmul/dot_floats.wgsl?raw";
import fewRows from "../../shaders/matmul/few_rows.wgsl?raw";
import finishThread from "../../shaders/matmul/finish_thread.wgsl?raw";
import int8Tiles from "../../shaders/matmul/many_rows_int8.wgsl?raw";
import floatTiles from "../../shaders/matmul/many_rows_tiles.wgsl?raw";
import tileCode from "../../shaders/matmul/tile.wgsl?raw";
import int8Q4 from "../../shaders/weights/formats/int8_q4.wgsl?raw";
import int8Q8 from "../../shaders/weights/formats/int8_q8.wgsl?raw";
import scaleNone from "../../shaders/weights/formats/scale_none.wgsl?raw";
import { GpuError } from "../errors.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Constants, KernelSource } from "../gpu/pipelines.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import type { BoundMatmul } from "./few_row_matmul.ts";
import { exactInInt8 } from "./int8_rows.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import {
  kindName,
  type MatmulBinding,
  type MatmulForm,
  type MatmulKind,
  type MatmulSize,
  matmulBindings,
  matmulCode,
  matmulShape,
  NORM_SHARES,
  spreadOf,
  widthOf,
} from "./matmul_form.ts";
import { CHECK_SIZE, probeData } from "./matmul_probe.ts";
import { rowsKeepTheirBits } from "./place_check.ts";
import { computesRight } from "./self_check.ts";
import { formatName, isBlockFormat, STEP, type WeightFormat } from "./weight_format.ts";

/** The forms that prompt rows take: their ids are known, so none of them selects one. */
export type ManyRowForm = Exclude<MatmulForm, "headArgmax">;

export type ManyRowVariant = "tiles" | "thread" | "int8";

/**
 * Rows of a slab of the `thread` variant, whatever the number of rows, and weight columns of a thread. Measured on
 * SwiftShader: 8 x 4 is a quarter slower; 16 x 8 is a fifth faster and takes more than twice as long to compile.
 */
const THREAD_ROWS = 8;
const THREAD_COLUMNS = 8;

/** The sizes of a tile. They change no bit of a result. */
export interface Tile {
  /** Rows of the tile. */
  rows: number;
  /** Weight columns of the tile. */
  columns: number;
  /** Rows and weight columns whose sums a thread keeps. */
  threadRows: number;
  threadColumns: number;
  /** vec4 of K that are in workgroup memory at a time, at most 8. */
  chunkVectors: number;
}

/** 128 threads and 14.1 KiB of workgroup memory: within every device's limits. */
export const TILE: Tile = { rows: 32, columns: 64, threadRows: 4, threadColumns: 4, chunkVectors: 8 };

/**
 * 128 threads and 20.1 KiB: twice the products for each weight that is decoded, and 32 for each 12 vec4 that a thread
 * loads, rather than 16 for each 8.
 */
export const LARGE_TILE: Tile = { rows: 64, columns: 64, threadRows: 8, threadColumns: 4, chunkVectors: 8 };

/** Bytes of workgroup memory that the kernels of a tile may use, at most. */
export function tileBytes({ rows, columns, chunkVectors }: Tile): number {
  const normShares = rows * NORM_SHARES * 4;
  return chunkVectors * (rows + 1 + columns) * 16 + normShares;
}

/** The largest tile that a device's workgroup memory holds. */
export function tileOf({ handle }: Device): Tile {
  return tileBytes(LARGE_TILE) <= handle.limits.maxComputeWorkgroupStorageSize ? LARGE_TILE : TILE;
}

/** Blocks of 32 that the `int8` variant has in workgroup memory at a time. */
const INT8_CHUNK_BLOCKS = 2;

/** Whether weights can be multiplied as integers. */
export function takesInt8(format: WeightFormat): boolean {
  return isBlockFormat(format) && format.codes === "symmetric";
}

/** Whether a device can run a variant with these weights. */
export function runsVariant(device: Device, variant: ManyRowVariant, format: WeightFormat): boolean {
  if (variant !== "int8") return true;
  return takesInt8(format) && device.gpu.wgslLanguageFeatures.has("packed_4x8_integer_dot_product");
}

/** Outputs of which a thread of the `thread` variant owns the sums. */
function threadOutputs(form: MatmulForm): number {
  return THREAD_COLUMNS / widthOf(form);
}

function threadKernel<F extends ManyRowForm>(device: Device, kind: MatmulKind<F>): Kernel<MatmulBinding<F>> {
  const { code, constants } = matmulCode(kind);
  const bindings = matmulBindings(kind.form);
  const source: KernelSource & { bindings: typeof bindings } = {
    name: `matmul/many_rows ${kindName(kind)} thread`,
    code: [...code, fewRows, isBlockFormat(kind.format) ? dotBlocks : dotFloats, finishThread],
    bindings,
  };
  return new Kernel(device, source, {
    ...COMMON_CONSTANTS,
    ...constants,
    M: THREAD_ROWS,
    COLUMNS: THREAD_COLUMNS,
    OUTPUTS: threadOutputs(kind.form),
    SLICES: 1,
  });
}

function tileKernel<F extends ManyRowForm>(
  device: Device,
  kind: MatmulKind<F>,
  variant: "tiles" | "int8",
  tile: Tile,
): Kernel<MatmulBinding<F>> {
  const { code, constants } = matmulCode(kind);
  const pieces = variant === "tiles" ? floatPieces(kind.format, tile) : int8Pieces(kind.format);
  const bindings = matmulBindings(kind.form);
  const source: KernelSource & { bindings: typeof bindings } = {
    name: `matmul/many_rows ${kindName(kind)} ${variant}`,
    code: [...code, tileCode, ...pieces.code],
    bindings,
    ...(variant === "int8" && { requires: ["packed_4x8_integer_dot_product"] as const }),
  };
  return new Kernel(device, source, {
    ...COMMON_CONSTANTS,
    ...constants,
    ...pieces.constants,
    WORKGROUP: (tile.rows / tile.threadRows) * (tile.columns / tile.threadColumns),
    M: tile.rows,
    ROWS: tile.threadRows,
    COLUMNS: tile.threadColumns,
    OUTPUTS: tile.threadColumns / widthOf(kind.form),
    LANES: tile.columns / tile.threadColumns,
    TILE_COLUMNS: tile.columns,
  });
}

/** What `tiles` needs beside the pieces of its form and its format. */
function floatPieces(format: WeightFormat, { chunkVectors }: Tile): { code: string[]; constants: Constants } {
  const vectors = STEP[format.type] / 4;
  const blocks = isBlockFormat(format);
  // Four vec4 a thread and column: a whole step of most formats, half a step of q4, never two blocks.
  const partVectors = Math.min(4, vectors, chunkVectors);
  const partSteps = Math.min(4, chunkVectors) / partVectors;
  return {
    code: blocks ? [floatTiles] : [scaleNone, floatTiles],
    constants: {
      CHUNK_VECTORS: chunkVectors,
      PART_VECTORS: partVectors,
      PART_STEPS: partSteps,
      ...(!blocks && { GROUP_VECTORS: vectors }),
    },
  };
}

/** What `int8` needs beside the pieces of its form and its format. */
function int8Pieces(format: WeightFormat): { code: string[]; constants: Constants } {
  if (!isBlockFormat(format) || format.codes !== "symmetric") {
    throw new RangeError(`${formatName(format)}: only symmetric block codes are multiplied as integers`);
  }
  return {
    code: [format.type === "q8" ? int8Q8 : int8Q4, int8Tiles],
    constants: { CHUNK_BLOCKS: INT8_CHUNK_BLOCKS, HALF_SCALES: Number(format.block === 16) },
  };
}

/** Pipelines that were tried and found right: what is chosen when a model is loaded is not tried again for its layers. */
const RIGHT = new WeakSet<GPUComputePipeline>();

export class ManyRowMatmul<F extends ManyRowForm = ManyRowForm> {
  readonly kind: MatmulKind<F>;
  readonly variant: ManyRowVariant;
  readonly #device: Device;
  readonly #tile: Tile;
  readonly #kernel: Kernel<MatmulBinding<F>>;
  #prepared: Promise<void> | undefined;

  /** @param tile another tile than the device's, for `tiles` and `int8` */
  constructor(device: Device, kind: MatmulKind<F>, variant: ManyRowVariant, tile = tileOf(device)) {
    this.kind = kind;
    this.variant = variant;
    this.#device = device;
    this.#tile = tile;
    this.#kernel = variant === "thread" ? threadKernel(device, kind) : tileKernel(device, kind, variant, tile);
  }

  /**
   * Compiles the kernel and tries it on this device.
   * @throws GpuError when it computes wrong numbers here, or a row's bits depend on the row's place
   */
  prepare(): Promise<void> {
    if (!this.#prepared) {
      this.#prepared = this.#compileAndCheck();
      this.#prepared.catch(() => {
        this.#prepared = undefined; // undecided or refused: asked again next time
      });
    }
    return this.#prepared;
  }

  async #compileAndCheck(): Promise<void> {
    await this.#kernel.prepare();
    const pipeline = this.#kernel.pipeline!; // it is compiled
    if (RIGHT.has(pipeline)) return;
    // A whole tile and the beginning of the next one.
    const probe = probeData(this.kind, { ...CHECK_SIZE, rows: this.#slabRows + 5 });
    const data = this.variant === "int8" ? exactInInt8(probe) : probe;
    const trial = {
      data,
      shape: this.shape(data.size),
      record: (recorder: Recorder, buffers: Readonly<Record<MatmulBinding, GPUBuffer>>, rows: RowSet) =>
        this.record(recorder, this.bind(buffers, data.size.outputs), rows),
    };
    const verdict = await computesRight(this.#device, trial);
    if (!verdict.ok)
      throw new GpuError(this.#kernel.name, `it computes wrong numbers on this device: ${verdict.where}`);
    if (!(await rowsKeepTheirBits(this.#device, trial))) {
      throw new GpuError(this.#kernel.name, "the bits of a row depend on its place on this device");
    }
    RIGHT.add(pipeline);
  }

  /** Whether it is compiled and may be recorded. */
  get ready(): boolean {
    return this.#kernel.ready;
  }

  /** Contents of the `Shape` uniform. */
  shape(size: MatmulSize): Uint32Array<ArrayBuffer> {
    return matmulShape(this.kind, size, this.variant === "thread" ? threadOutputs(this.kind.form) : 1);
  }

  /** Binds a weight matrix to the rows it reads and writes. */
  bind(buffers: Readonly<Record<MatmulBinding<F>, GPUBuffer>>, outputs: number): BoundMatmul {
    const { weight, scales } = buffers as Readonly<Record<"weight" | "scales", GPUBuffer>>;
    const weightBytes = weight.size + (isBlockFormat(this.kind.format) ? scales.size : 0);
    return { group: this.#kernel.bind(buffers), outputs, weightBytes };
  }

  /** Records the product for `rows`. */
  record(recorder: Recorder, { group, outputs, weightBytes }: BoundMatmul, rows: RowSet): void {
    const grid = this.#grid(outputs, rows.count);
    this.#kernel.record(recorder, group, rows.range, grid);
    recorder.streamedBytes += weightBytes * grid[1];
  }

  /** Rows that a workgroup takes. */
  get #slabRows(): number {
    return this.variant === "thread" ? THREAD_ROWS : this.#tile.rows;
  }

  /** Workgroups along the outputs and along the rows. */
  #grid(outputs: number, rows: number): readonly [number, number] {
    const { form } = this.kind;
    return this.variant === "thread"
      ? [groups(spreadOf(outputs, threadOutputs(form)), WORKGROUP), groups(rows, this.#slabRows)]
      : [groups(outputs, this.#tile.columns / widthOf(form)), groups(rows, this.#slabRows)];
  }
}
