/**
 * From a checkpoint's files to the GPU, in the layout the kernels want.
 *
 * Tensors are read by ranges of a few MiB, written to one staging buffer and laid out by the GPU, which also widens f16 and
 * bf16. Neither the host nor the GPU ever holds a second copy of a tensor, only of one staging chunk.
 */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { type FloatType, Interleave, interleaveShape } from "../kernels/interleave.ts";
import type { TensorSpec } from "../model/spec.ts";
import type { LoadProgress } from "../types.ts";
import type { Checkpoint } from "./checkpoint.ts";

/** Bytes of a checkpoint on their way to the GPU at one time. */
const STAGING_BYTES = 8 * 2 ** 20;
/** Staging chunks the queue may hold before the host waits: bounds what the driver keeps in host memory. */
const CHUNKS_IN_FLIGHT = 4;

const ELEMENT_BYTES: Record<FloatType, number> = { F32: 4, F16: 2, BF16: 2 };

/** Weights of one decoder layer. Matrices that are multiplied by the same input are one matrix. */
export interface LayerWeights {
  inputNorm: GPUBuffer;
  /** Queries, keys and values side by side: (heads + 2 * kvHeads) * headDim columns. */
  qkv: GPUBuffer;
  output: GPUBuffer;
  postAttentionNorm: GPUBuffer;
  /** Gate and up side by side: 2 * intermediateSize columns. */
  gateUp: GPUBuffer;
  down: GPUBuffer;
}

/** A model's weights: matrices `[K / 4][columns]` vec4 of f32, norms as vectors. */
export interface ModelWeights {
  embedding: GPUBuffer;
  layers: LayerWeights[];
  finalNorm: GPUBuffer;
  /** The embedding where the model ties them. */
  head: GPUBuffer;
}

/** Tensors of one input size that become one matrix, left to right. */
interface Matrix {
  parts: readonly TensorSpec[];
  buffer: GPUBuffer;
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
  onProgress: (progress: LoadProgress) => void,
  signal: AbortSignal | undefined,
): Promise<ModelWeights> {
  const { tensors } = checkpoint;
  const matrices: Matrix[] = [];
  const matrix = (...parts: TensorSpec[]): GPUBuffer => {
    const bytes = parts.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 4), 0);
    const name = parts.map((part) => part.name).join(" + ");
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC;
    const buffer = device.ledger.allocate("weights", name, bytes, usage);
    matrices.push({ parts, buffer });
    return buffer;
  };

  const weights = await device.allocating(`${checkpoint.name} (weights in f32)`, checkpoint.parameters * 4, () => {
    const embedding = matrix(tensors.embedding);
    const layers = tensors.layers.map((layer) => ({
      inputNorm: matrix(layer.inputNorm),
      qkv: matrix(layer.query, layer.key, layer.value),
      output: matrix(layer.output),
      postAttentionNorm: matrix(layer.postAttentionNorm),
      gateUp: matrix(layer.gate, layer.up),
      down: matrix(layer.down),
    }));
    const finalNorm = matrix(tensors.finalNorm);
    return { embedding, layers, finalNorm, head: tensors.head ? matrix(tensors.head) : embedding };
  });

  const uploader = await device.allocating("staging", STAGING_BYTES, () => new Uploader(device));
  try {
    let loadedBytes = 0;
    for (const { parts, buffer } of matrices) {
      const columns = parts.reduce((sum, part) => sum + matrixShape(part).rows, 0);
      let firstColumn = 0;
      for (const part of parts) {
        const { rows, inputSize } = matrixShape(part);
        const { dtype, source, offset } = checkpoint.tensor(part);
        const rowBytes = inputSize * ELEMENT_BYTES[dtype];
        const rowsPerChunk = Math.max(1, Math.floor(STAGING_BYTES / rowBytes));
        for (let row = 0; row < rows; row += rowsPerChunk) {
          signal?.throwIfAborted();
          const count = Math.min(rowsPerChunk, rows - row);
          const bytes = await source.read(offset + row * rowBytes, count * rowBytes, signal);
          const shape = interleaveShape(count, inputSize, firstColumn + row, columns);
          await uploader.lay(bytes, dtype, shape, count, buffer);
          loadedBytes += bytes.byteLength;
          onProgress({ phase: "read", loadedBytes, totalBytes: checkpoint.weightBytes });
        }
        firstColumn += rows;
      }
    }
    await device.handle.queue.onSubmittedWorkDone();
    device.check();
  } finally {
    uploader.dispose();
  }
  return weights;
}

/** Stages chunks and has the GPU lay them out. */
class Uploader {
  readonly #device: Device;
  readonly #shape: GPUBuffer;
  #staging: GPUBuffer;
  readonly #kernels = new Map<FloatType, Interleave>();
  #inFlight = 0;

  constructor(device: Device) {
    this.#device = device;
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    this.#shape = device.ledger.allocate("staging", "interleave shape", 16, UNIFORM | COPY_DST);
    this.#staging = device.ledger.allocate("staging", "chunk", STAGING_BYTES, STORAGE | COPY_DST);
  }

  async lay(
    bytes: Uint8Array<ArrayBuffer>,
    dtype: FloatType,
    shape: Uint32Array<ArrayBuffer>,
    rows: number,
    weight: GPUBuffer,
  ): Promise<void> {
    const { queue } = this.#device.handle;
    const kernel = this.#kernels.get(dtype) ?? new Interleave(this.#device, dtype);
    this.#kernels.set(dtype, kernel);
    await kernel.prepare();
    this.#reserve(bytes.byteLength);
    queue.writeBuffer(this.#shape, 0, shape);
    queue.writeBuffer(this.#staging, 0, bytes);
    const recorder = new Recorder(this.#device.handle, "lay weights");
    const group = kernel.bind({ shape: this.#shape, source: this.#staging, weight });
    kernel.dispatch(recorder, group, rows);
    this.#device.submit(recorder);
    if (++this.#inFlight === CHUNKS_IN_FLIGHT) {
      this.#inFlight = 0;
      await queue.onSubmittedWorkDone();
    }
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
