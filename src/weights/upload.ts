/**
 * From a checkpoint's files to the GPU, in the formats the kernels read.
 *
 * Tensors are read by ranges of a few MiB, written to one staging buffer, and laid out, rounded or quantised by the GPU.
 * Neither the host nor the GPU ever holds a second copy of a tensor, only of one staging chunk. Vectors, norms and biases,
 * are a few KB each: the host makes f32 of them.
 */

import type { Device } from "../gpu/device.ts";
import { biasBegin } from "../kernels/matmul_form.ts";
import { type FloatType, isFloat, rowBytes, type SourceType } from "../kernels/source_type.ts";
import { half, single } from "../kernels/weight_codec.ts";
import { inHeadOrder } from "../model/head_order.ts";
import type { TensorSpec } from "../model/spec.ts";
import type { ModelDtype } from "../types.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { HeldWeights, type ModelWeights } from "./held_weights.ts";
import { matrixShape, plannedBytes, type WeightPlan } from "./plan.ts";
import { STAGING_BYTES, Uploader } from "./uploader.ts";

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
  options: UploadOptions = {},
): Promise<ModelWeights> {
  const { dtype } = options;
  const what = `${checkpoint.name} (weights${dtype && dtype !== "stored" ? ` in ${dtype}` : ""})`;
  const { held, weights } = await device.allocating(what, plannedBytes(plan), () => {
    const held = new HeldWeights(device);
    return { held, weights: held.model(plan) };
  });
  await fillWeights(device, held, { tensor: checkpoint.tensor, normsAddOne: checkpoint.spec.normsAddOne }, options);
  return weights;
}

/** Where weights come from. */
export interface WeightSource {
  tensor: Checkpoint["tensor"];
  /** The weights of norms are stored less one. */
  normsAddOne: boolean;
}

/**
 * Puts what belongs into them into buffers.
 * @throws GpuMemoryError | GpuError; SourceError when something cannot be read; the signal's reason
 */
export async function fillWeights(
  device: Device,
  held: HeldWeights,
  { tensor: find, normsAddOne }: WeightSource,
  { onProgress = () => {}, signal }: UploadOptions = {},
): Promise<void> {
  const uploader = await device.allocating("staging", STAGING_BYTES, () => new Uploader(device));
  let loadedBytes = 0;
  /** Units (rows of a matrix, elements of a vector) [first, first + count) of a tensor. */
  const read = async (tensor: TensorSpec, unitSize: number, first: number, count: number) => {
    signal?.throwIfAborted();
    const { source, dtype: type, offset } = find(tensor);
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
          const count = Math.min(uploader.rowsAtOnce(find(tensor).dtype, matrix), rows - row);
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
    const added = normsAddOne ? 1 : 0;
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
