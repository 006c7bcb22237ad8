/** From the file of an exit adapter to the GPU. */

import type { Device } from "../gpu/device.ts";
import type { Holding } from "./dtype.ts";
import type { ExitAdapterFile } from "./exit_adapter.ts";
import { HeldWeights, type LayerWeights, type Matrix } from "./held_weights.ts";
import {
  heldBytes,
  type LayerPlan,
  layerMatrices,
  layerNorms,
  type MatrixPlan,
  planLayer,
  planMatrix,
} from "./plan.ts";
import { fillWeights } from "./upload.ts";

/** An adapter's weights on the GPU. */
export interface ExitAdapterWeights {
  exitLayer: number;
  /** A decoder layer. */
  block: LayerWeights | undefined;
  /** With biases. */
  map: Matrix;
  /** What the hidden state is multiplied by first: the block's first norm, or ones; undefined: nothing reads the product. */
  firstNorm: GPUBuffer | undefined;
  /** The ids that it chooses among, ascending; undefined: all. */
  hotIds: Uint32Array<ArrayBuffer> | undefined;
}

/** What lies in which matrix, in which format. */
export interface ExitAdapterPlan {
  block: LayerPlan | undefined;
  map: MatrixPlan;
}

/**
 * Its matrices are held as the model's head would be, and no larger than their file has them: it is small, and what it drafts is as good as
 * its numbers.
 * @throws GpuError for a matrix that the device does not bind whole
 */
export function planExitAdapter(
  { tensors: { block, map, mapBias }, tensor }: ExitAdapterFile,
  modelHolding: Holding,
  bindableBytes: number,
): ExitAdapterPlan {
  const isHalf = tensor(map).dtype === "F16";
  const holding: Holding = isHalf && modelHolding.dtype === "f32" ? { ...modelHolding, dtype: "f16" } : modelHolding;
  return {
    block: block && planLayer(tensor, block, "head", holding, bindableBytes),
    map: planMatrix(tensor, { tensor: map, bias: mapBias }, "head", holding, bindableBytes),
  };
}

/** All matrices of a plan. */
export function adapterMatrices({ block, map }: ExitAdapterPlan): MatrixPlan[] {
  return [...(block ? layerMatrices(block) : []), map];
}

/**
 * @param owner whom its weights are booked under
 * @throws GpuMemoryError | GpuError when they do not fit; SourceError when they cannot be read; the signal's reason
 */
export async function uploadExitAdapter(
  device: Device,
  owner: string,
  file: ExitAdapterFile,
  plan: ExitAdapterPlan,
  signal?: AbortSignal,
): Promise<ExitAdapterWeights> {
  const bytes = heldBytes(adapterMatrices(plan), plan.block ? layerNorms(plan.block) : []);
  const { held, weights } = await device.allocating(file.name, bytes, () => {
    const held = new HeldWeights(device, owner);
    const block = plan.block && held.layer(plan.block);
    const hiddenSize = plan.map.columns;
    const ones = block ? undefined : held.allocate("ones", hiddenSize * 4);
    if (ones) device.handle.queue.writeBuffer(ones, 0, new Float32Array(hiddenSize).fill(1));
    const firstNorm = block ? block.inputNorm : ones;
    const { exitLayer } = file.info;
    return { held, weights: { exitLayer, block, map: held.matrix(plan.map), firstNorm, hotIds: file.hotIds } };
  });
  await fillWeights(device, held, file, { signal });
  return weights;
}
