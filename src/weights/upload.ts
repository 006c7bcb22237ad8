/**
 * From a checkpoint's files to the GPU, in the formats the kernels read.
 *
 * Tensors are read by ranges of a few MiB, written to one staging buffer, and laid out, rounded or quantised by the GPU.
 * Neither the host nor the GPU ever holds a second copy of a tensor, only of one staging chunk.
 */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Pace } from "../gpu/pace.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { type FloatType, Repack, repackShape } from "../kernels/repack.ts";
import { formatName, isBlockFormat, scaleBytes, type WeightFormat, weightBytes } from "../kernels/weight_format.ts";
import type { TensorSpec } from "../model/spec.ts";
import type { Dtype, LoadProgress } from "../types.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { formatsOf } from "./dtype.ts";
import { headParts } from "./head_parts.ts";

/** Bytes of a checkpoint on their way to the GPU at one time, at most; a first chunk, that no device takes long for. */
const STAGING_BYTES = 8 * 2 ** 20;
const FIRST_CHUNK_BYTES = 2 ** 18;
const LEAST_CHUNK_BYTES = 2 ** 16;
/** Staging chunks the queue may hold before the host waits: bounds what the driver keeps in host memory. */
const CHUNKS_IN_FLIGHT = 4;

const ELEMENT_BYTES: Record<FloatType, number> = { F32: 4, F16: 2, BF16: 2 };

const F32: WeightFormat = { type: "f32" };

/** A weight matrix on the GPU (shaders/weights/formats/README.md). */
export interface Matrix {
  format: WeightFormat;
  weight: GPUBuffer;
  /** A word that stands in for them where the format has none. */
  scales: GPUBuffer;
  inputSize: number;
  columns: number;
}

/** Weights of one decoder layer. Matrices that are multiplied by the same input are one matrix. */
export interface LayerWeights {
  inputNorm: GPUBuffer;
  /** Queries, keys and values side by side: (heads + 2 * kvHeads) * headDim columns. */
  qkv: Matrix;
  output: Matrix;
  postAttentionNorm: GPUBuffer;
  /** Gate and up side by side: 2 * intermediateSize columns. */
  gateUp: Matrix;
  down: Matrix;
}

/** A run of the vocabulary's columns (head_parts.ts). */
export interface HeadPart extends Matrix {
  /** The vocabulary id of its column 0. */
  firstColumn: number;
}

/** A model's weights: matrices in their formats, norms as vectors of f32. */
export interface ModelWeights {
  embedding: HeadPart[];
  layers: LayerWeights[];
  finalNorm: GPUBuffer;
  /** The embedding's own array where the model ties them. */
  head: HeadPart[];
}

export interface UploadOptions {
  dtype: Dtype;
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal | undefined;
}

/** A run of a tensor's rows and the columns they become. */
interface Landing {
  tensor: TensorSpec;
  firstRow: number;
  rows: number;
  matrix: Matrix;
  firstColumn: number;
}

/** Rows and row length of a tensor; a vector is one row. */
function matrixShape({ shape }: TensorSpec): { rows: number; inputSize: number } {
  return shape.length === 1 ? { rows: 1, inputSize: shape[0]! } : { rows: shape[0]!, inputSize: shape[1]! };
}

/**
 * Loads all weights. They are booked under the ledger's owner `weights`.
 * @throws GpuMemoryError | GpuError when they do not fit; SourceError when they cannot be read; the signal's reason
 */
export async function uploadWeights(
  device: Device,
  checkpoint: Checkpoint,
  { dtype, onProgress = () => {}, signal }: UploadOptions,
): Promise<ModelWeights> {
  const what = `${checkpoint.name} (weights in ${dtype})`;
  const { weights, landings } = await device.allocating(what, neededBytes(checkpoint, dtype), () =>
    allocateWeights(device, checkpoint, dtype),
  );
  const uploader = await device.allocating("staging", STAGING_BYTES, () => new Uploader(device));
  try {
    let loadedBytes = 0;
    for (const landing of landings) {
      const { source, dtype, offset } = checkpoint.tensor(landing.tensor);
      const { rows, firstRow, matrix } = landing;
      const rowBytes = matrix.inputSize * ELEMENT_BYTES[dtype];
      for (let row = 0; row < rows; ) {
        signal?.throwIfAborted();
        const count = Math.min(uploader.rowsAtOnce(dtype, matrix), rows - row);
        const bytes = await source.read(offset + (firstRow + row) * rowBytes, count * rowBytes, signal);
        await uploader.lay(bytes, dtype, count, landing.firstColumn + row, matrix);
        row += count;
        loadedBytes += bytes.byteLength;
        onProgress({ phase: "read", loadedBytes, totalBytes: checkpoint.weightBytes });
      }
    }
    await uploader.finished();
  } finally {
    uploader.dispose();
  }
  return weights;
}

/** Bytes of all weights on the GPU. */
function neededBytes({ tensors }: Checkpoint, dtype: Dtype): number {
  const formats = formatsOf(dtype);
  const bytes = (format: WeightFormat) => (tensor: TensorSpec) => {
    const { rows, inputSize } = matrixShape(tensor);
    const own = tensor.shape.length === 1 ? F32 : format;
    return weightBytes(own, inputSize, rows) + (isBlockFormat(own) ? scaleBytes(own, inputSize, rows) : 0);
  };
  const { embedding, layers, finalNorm, head } = tensors;
  return [
    ...[embedding, finalNorm, ...(head ? [head] : [])].map(bytes(formats.head)),
    ...layers.flatMap((layer) => Object.values(layer) as TensorSpec[]).map(bytes(formats.layers)),
  ].reduce((sum, size) => sum + size, 0);
}

/** Allocates all weights and says what lands where, in the order of the model. */
function allocateWeights(
  device: Device,
  { tensors }: Checkpoint,
  dtype: Dtype,
): { weights: ModelWeights; landings: Landing[] } {
  const formats = formatsOf(dtype);
  const landings: Landing[] = [];
  const allocate = (name: string, bytes: number) =>
    device.ledger.allocate("weights", name, bytes, BufferUsage.STORAGE | BufferUsage.COPY_SRC);
  const noScales = allocate("no scales", 4);

  const allocateMatrix = (name: string, format: WeightFormat, inputSize: number, columns: number): Matrix => ({
    format,
    weight: allocate(name, weightBytes(format, inputSize, columns)),
    scales: isBlockFormat(format) ? allocate(`${name} scales`, scaleBytes(format, inputSize, columns)) : noScales,
    inputSize,
    columns,
  });
  /** Tensors of one input size, side by side. */
  const matrix = (format: WeightFormat, ...parts: TensorSpec[]): Matrix => {
    const { inputSize } = matrixShape(parts[0]!);
    const columns = parts.reduce((sum, part) => sum + matrixShape(part).rows, 0);
    const whole = allocateMatrix(parts.map((part) => part.name).join(" + "), format, inputSize, columns);
    let firstColumn = 0;
    for (const tensor of parts) {
      const { rows } = matrixShape(tensor);
      landings.push({ tensor, firstRow: 0, rows, matrix: whole, firstColumn });
      firstColumn += rows;
    }
    return whole;
  };
  const vector = (tensor: TensorSpec): GPUBuffer => matrix(F32, tensor).weight;
  const head = (tensor: TensorSpec): HeadPart[] => {
    const { rows, inputSize } = matrixShape(tensor);
    const { maxStorageBufferBindingSize, maxBufferSize } = device.handle.limits;
    const runs = headParts(formats.head, inputSize, rows, Math.min(maxStorageBufferBindingSize, maxBufferSize));
    return runs.map(({ first, count }) => {
      const name = runs.length === 1 ? tensor.name : `${tensor.name}, ids from ${first}`;
      const part = allocateMatrix(name, formats.head, inputSize, count);
      landings.push({ tensor, firstRow: first, rows: count, matrix: part, firstColumn: 0 });
      return { ...part, firstColumn: first };
    });
  };

  const embedding = head(tensors.embedding);
  const layers = tensors.layers.map((layer) => ({
    inputNorm: vector(layer.inputNorm),
    qkv: matrix(formats.layers, layer.query, layer.key, layer.value),
    output: matrix(formats.layers, layer.output),
    postAttentionNorm: vector(layer.postAttentionNorm),
    gateUp: matrix(formats.layers, layer.gate, layer.up),
    down: matrix(formats.layers, layer.down),
  }));
  const finalNorm = vector(tensors.finalNorm);
  return {
    weights: { embedding, layers, finalNorm, head: tensors.head ? head(tensors.head) : embedding },
    landings,
  };
}

/** A kernel and how fast it is here, in bytes of the checkpoint. */
interface Way {
  kernel: Repack;
  pace: Pace;
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
    this.#shape = device.ledger.allocate("staging", "repack shape", 16, UNIFORM | COPY_DST);
    this.#staging = device.ledger.allocate("staging", "chunk", STAGING_BYTES, STORAGE | COPY_DST);
  }

  #way(dtype: FloatType, format: WeightFormat): Way {
    const key = `${dtype} ${formatName(format)}`;
    const way = this.#ways.get(key) ?? {
      kernel: new Repack(this.#device, dtype, format),
      pace: this.#queue.newPace(),
    };
    this.#ways.set(key, way);
    return way;
  }

  /** Rows of a matrix that the next chunk should hold; a row is never cut. */
  rowsAtOnce(dtype: FloatType, { format, inputSize }: Matrix): number {
    return Math.max(1, Math.floor(this.#way(dtype, format).pace.units / (inputSize * ELEMENT_BYTES[dtype])));
  }

  async lay(
    bytes: Uint8Array<ArrayBuffer>,
    dtype: FloatType,
    rows: number,
    firstColumn: number,
    { format, weight, scales, inputSize, columns }: Matrix,
  ): Promise<void> {
    const { queue } = this.#device.handle;
    const { kernel, pace } = this.#way(dtype, format);
    await kernel.prepare();
    this.#reserve(bytes.byteLength);
    queue.writeBuffer(this.#shape, 0, repackShape(rows, inputSize, firstColumn, columns));
    queue.writeBuffer(this.#staging, 0, bytes);
    const recorder = new Recorder(this.#device.handle, "lay weights");
    const group = kernel.bind({ shape: this.#shape, source: this.#staging, weight, scales });
    kernel.dispatch(recorder, group, rows, inputSize);
    await this.#queue.submit(recorder, bytes.byteLength, pace);
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
