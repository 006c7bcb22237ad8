/**
 * From a checkpoint's files to the GPU, in the formats the kernels read.
 *
 * Tensors are read by ranges of a few MiB, written to one staging buffer, and laid out, rounded or quantised by the GPU.
 * Neither the host nor the GPU ever holds a second copy of a tensor, only of one staging chunk. Vectors, norms and biases,
 * are a few KB each: the host makes f32 of them.
 */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Pace } from "../gpu/pace.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { biasBegin } from "../kernels/matmul_form.ts";
import { REPACK_SHAPE_BYTES, Repack, repackShape } from "../kernels/repack.ts";
import { type FloatType, isFloat, rowBytes, type SourceType } from "../kernels/source_type.ts";
import { half, single } from "../kernels/weight_codec.ts";
import { formatName, isBlockFormat, type WeightFormat, weightBytes } from "../kernels/weight_format.ts";
import { inHeadOrder } from "../model/head_order.ts";
import type { HeadOrder, TensorSpec } from "../model/spec.ts";
import type { ModelDtype } from "../types.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { type MatrixPlan, matrixShape, plannedBytes, scalesBytes, type WeightPlan } from "./plan.ts";

/** Bytes of a checkpoint on their way to the GPU at one time, at most; a first chunk, that no device takes long for. */
const STAGING_BYTES = 8 * 2 ** 20;
const FIRST_CHUNK_BYTES = 2 ** 18;
const LEAST_CHUNK_BYTES = 2 ** 16;
/** Staging chunks the queue may hold before the host waits: bounds what the driver keeps in host memory. */
const CHUNKS_IN_FLIGHT = 4;

/** A weight matrix on the GPU (shaders/weights/formats/README.md). */
export interface Matrix {
  format: WeightFormat;
  weight: GPUBuffer;
  /** Scales, and the biases behind them. A word that stands in for them where there are none. */
  scales: GPUBuffer;
  inputSize: number;
  columns: number;
  /** Whether each column has a bias. */
  bias: boolean;
}

/** Neighbouring outputs of a matrix that is cut (column_runs.ts, plan.ts). */
export interface MatrixPart extends Matrix {
  /** The output that column 0 makes. */
  firstColumn: number;
}

/** Weights of one decoder layer. Norms that a family does not have are absent. */
export interface LayerWeights {
  inputNorm: GPUBuffer | undefined;
  /** Queries, keys and values side by side: (heads + 2 * kvHeads) * headDim columns. */
  qkv: MatrixPart[];
  queryNorm: GPUBuffer | undefined;
  keyNorm: GPUBuffer | undefined;
  output: Matrix;
  postAttentionNorm: GPUBuffer | undefined;
  preFeedforwardNorm: GPUBuffer | undefined;
  /** Gate and up side by side: 2 * intermediateSize columns. */
  gateUp: MatrixPart[];
  /** Gate, and up behind it, where their formats differ; `gateUp` is empty then. */
  ungated: MatrixPart[];
  down: Matrix;
  postFeedforwardNorm: GPUBuffer | undefined;
}

/** A model's weights: matrices in their formats, norms as vectors of f32. */
export interface ModelWeights {
  /** In runs of vocabulary ids, as the head is. */
  embedding: MatrixPart[];
  layers: LayerWeights[];
  finalNorm: GPUBuffer;
  /** The embedding's own array where the model ties them. */
  head: MatrixPart[];
}

export interface UploadOptions {
  /** What the weights are held in, for messages. */
  dtype?: ModelDtype;
  /** Told the bytes of the checkpoint that are on the GPU or on their way. */
  onProgress?: (loadedBytes: number) => void;
  signal?: AbortSignal | undefined;
}

/**
 * Loads all weights. They are booked under the ledger's owner `weights`.
 * @throws GpuMemoryError | GpuError when they do not fit; SourceError when they cannot be read; the signal's reason
 */
export async function uploadWeights(
  device: Device,
  checkpoint: Checkpoint,
  plan: WeightPlan,
  { dtype, onProgress = () => {}, signal }: UploadOptions = {},
): Promise<ModelWeights> {
  const what = `${checkpoint.name} (weights${dtype && dtype !== "stored" ? ` in ${dtype}` : ""})`;
  const held = await device.allocating(what, plannedBytes(plan), () => new HeldWeights(device, plan));
  const uploader = await device.allocating("staging", STAGING_BYTES, () => new Uploader(device));
  let loadedBytes = 0;
  /** Units (rows of a matrix, elements of a vector) [first, first + count) of a tensor. */
  const read = async (tensor: TensorSpec, unitSize: number, first: number, count: number) => {
    signal?.throwIfAborted();
    const { source, dtype: type, offset } = checkpoint.tensor(tensor);
    const unitBytes = rowBytes(type, unitSize);
    const begin = first + (tensor.slice?.firstRow ?? 0);
    const bytes = await source.read(offset + begin * unitBytes, count * unitBytes, signal);
    loadedBytes += bytes.byteLength;
    onProgress(loadedBytes);
    return { bytes, type };
  };
  /** Elements of a vector as the kernels take them. */
  const readVector = async (tensor: TensorSpec, first: number, count: number) => {
    const { bytes, type } = await read(tensor, 1, first, count);
    const vector = toFloats(bytes, type);
    return tensor.headOrder ? inHeadOrder(vector, tensor.headOrder) : vector;
  };
  try {
    const { queue } = device.handle;
    for (const [matrixPlan, matrix] of held.matrices) {
      for (const { tensor, firstRow, rows, firstColumn } of matrixPlan.landings) {
        for (let row = 0; row < rows; ) {
          const count = Math.min(uploader.rowsAtOnce(checkpoint.tensor(tensor).dtype, matrix), rows - row);
          const { bytes, type } = await read(tensor, matrix.inputSize, firstRow + row, count);
          // `firstRow` is of the part that lands here, and no head is in two parts: rows are counted from there.
          await uploader.lay(bytes, type, { rows: count, row, firstColumn, headOrder: tensor.headOrder }, matrix);
          row += count;
        }
      }
      const begin = biasBegin(matrix.format, matrix.inputSize, matrix.columns);
      for (const { tensor, firstRow, rows, firstColumn } of matrixPlan.biases) {
        const biases = await readVector(tensor, firstRow, rows);
        queue.writeBuffer(matrix.scales, (begin + firstColumn) * 4, biases);
      }
    }
    const added = checkpoint.spec.normsAddOne ? 1 : 0;
    for (const [tensor, buffer] of held.norms) {
      const norm = await readVector(tensor, 0, matrixShape(tensor).inputSize);
      queue.writeBuffer(
        buffer,
        0,
        norm.map((weight) => weight + added),
      );
    }
    await uploader.finished();
  } finally {
    uploader.dispose();
  }
  return held.weights;
}

/** The elements of a vector. */
function toFloats(bytes: Uint8Array<ArrayBuffer>, type: SourceType): Float32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (!isFloat(type)) throw new RangeError(`a vector in ${type}`); // the checkpoint admits none
  const count = bytes.byteLength / rowBytes(type, 1);
  const element: Record<FloatType, (i: number) => number> = {
    F32: (i) => view.getFloat32(4 * i, true),
    F16: (i) => half(view.getUint16(2 * i, true)),
    BF16: (i) => single(view.getUint16(2 * i, true) << 16),
  };
  return Float32Array.from({ length: count }, (_, i) => element[type](i));
}

/** A plan's buffers, empty. */
class HeldWeights {
  readonly weights: ModelWeights;
  readonly matrices: [MatrixPlan, Matrix][] = [];
  readonly norms: [TensorSpec, GPUBuffer][] = [];
  readonly #device: Device;
  readonly #noScales: GPUBuffer;

  constructor(device: Device, plan: WeightPlan) {
    this.#device = device;
    this.#noScales = this.#allocate("no scales", 4);
    const matrix = (each: MatrixPlan) => this.#matrix(each);
    const norm = (tensor: TensorSpec | undefined) => tensor && this.#norm(tensor);
    const embedding = plan.embedding.map(matrix);
    this.weights = {
      embedding,
      layers: plan.layers.map((layer) => ({
        inputNorm: norm(layer.inputNorm),
        qkv: layer.qkv.map(matrix),
        queryNorm: norm(layer.queryNorm),
        keyNorm: norm(layer.keyNorm),
        output: matrix(layer.output[0]),
        postAttentionNorm: norm(layer.postAttentionNorm),
        preFeedforwardNorm: norm(layer.preFeedforwardNorm),
        gateUp: layer.gateUp.map(matrix),
        ungated: layer.ungated.map(matrix),
        down: matrix(layer.down[0]),
        postFeedforwardNorm: norm(layer.postFeedforwardNorm),
      })),
      finalNorm: this.#norm(plan.finalNorm),
      head: plan.head?.map(matrix) ?? embedding,
    };
  }

  #matrix(plan: MatrixPlan): MatrixPart {
    const { name, format, inputSize, columns, firstColumn, bias } = plan;
    const matrix = {
      format,
      weight: this.#allocate(name, weightBytes(format, inputSize, columns)),
      scales: isBlockFormat(format) || bias ? this.#allocate(`${name} scales`, scalesBytes(plan)) : this.#noScales,
      ...{ inputSize, columns, firstColumn, bias },
    };
    this.matrices.push([plan, matrix]);
    return matrix;
  }

  #norm(tensor: TensorSpec): GPUBuffer {
    const buffer = this.#allocate(tensor.name, matrixShape(tensor).inputSize * 4);
    this.norms.push([tensor, buffer]);
    return buffer;
  }

  #allocate(name: string, bytes: number): GPUBuffer {
    const { STORAGE, COPY_SRC, COPY_DST } = BufferUsage;
    return this.#device.ledger.allocate("weights", name, bytes, STORAGE | COPY_SRC | COPY_DST);
  }
}

/** A kernel and how fast it is here, in bytes of the checkpoint. */
interface Way {
  kernel: Repack;
  pace: Pace;
}

/** Rows of a landing that are laid at once. */
interface Chunk {
  rows: number;
  /** The first of them, counted from the landing's first. */
  row: number;
  /** The column that the landing's first row becomes, but for the order of heads. */
  firstColumn: number;
  headOrder: HeadOrder | undefined;
}

/** Stages chunks and has the GPU lay them out. */
class Uploader {
  readonly #device: Device;
  readonly #queue: PacedQueue;
  readonly #shape: GPUBuffer;
  #staging: GPUBuffer;
  readonly #ways = new Map<string, Way>();

  constructor(device: Device) {
    this.#device = device;
    this.#queue = new PacedQueue(device, {
      first: FIRST_CHUNK_BYTES,
      least: LEAST_CHUNK_BYTES,
      most: STAGING_BYTES,
      inFlight: CHUNKS_IN_FLIGHT,
    });
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    this.#shape = device.ledger.allocate("staging", "repack shape", REPACK_SHAPE_BYTES, UNIFORM | COPY_DST);
    this.#staging = device.ledger.allocate("staging", "chunk", STAGING_BYTES, STORAGE | COPY_DST);
  }

  #way(dtype: SourceType, format: WeightFormat): Way {
    const key = `${dtype} ${formatName(format)}`;
    const way = this.#ways.get(key) ?? {
      kernel: new Repack(this.#device, dtype, format),
      pace: this.#queue.newPace(),
    };
    this.#ways.set(key, way);
    return way;
  }

  /** Rows of a matrix that the next chunk should hold; a row is never cut. */
  rowsAtOnce(dtype: SourceType, { format, inputSize }: Matrix): number {
    return Math.max(1, Math.floor(this.#way(dtype, format).pace.units / rowBytes(dtype, inputSize)));
  }

  async lay(
    bytes: Uint8Array<ArrayBuffer>,
    dtype: SourceType,
    { rows, row, firstColumn, headOrder }: Chunk,
    { format, weight, scales, inputSize, columns }: Matrix,
  ): Promise<void> {
    const { queue } = this.#device.handle;
    const { kernel, pace } = this.#way(dtype, format);
    await kernel.prepare();
    this.#reserve(bytes.byteLength);
    queue.writeBuffer(this.#shape, 0, repackShape(rows, inputSize, firstColumn, columns, row, headOrder));
    this.#stage(bytes);
    const recorder = new Recorder(this.#device.handle, "lay weights");
    const group = kernel.bind({ shape: this.#shape, source: this.#staging, weight, scales });
    kernel.dispatch(recorder, group, rows, inputSize);
    await this.#queue.submit(recorder, bytes.byteLength, pace);
  }

  /** Writes take whole words; rows of blocks need not end with one. */
  #stage(bytes: Uint8Array<ArrayBuffer>): void {
    const { queue } = this.#device.handle;
    const whole = bytes.byteLength - (bytes.byteLength % 4);
    queue.writeBuffer(this.#staging, 0, bytes, 0, whole);
    if (whole === bytes.byteLength) return;
    const last = new Uint8Array(4);
    last.set(bytes.subarray(whole));
    queue.writeBuffer(this.#staging, whole, last);
  }

  /** Waits until the GPU has laid out everything. */
  async finished(): Promise<void> {
    await this.#device.handle.queue.onSubmittedWorkDone();
    this.#device.check();
  }

  /** A single row longer than the staging buffer needs a longer one. */
  #reserve(bytes: number): void {
    if (bytes <= this.#staging.size) return;
    const { ledger } = this.#device;
    ledger.release(this.#staging);
    this.#staging = ledger.allocate("staging", "chunk", bytes, BufferUsage.STORAGE | BufferUsage.COPY_DST);
  }

  dispose(): void {
    this.#device.ledger.releaseOwner("staging");
  }
}
