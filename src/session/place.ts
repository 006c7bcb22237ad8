/** From a checkpoint to its weights on a device, in the form and for the kernels that suit it. */

import { abortable } from "../abortable.ts";
import { GpuMemoryError, InputError } from "../errors.ts";
import { requireContext, requireKvBudget } from "../forward/context_limit.ts";
import { productKinds } from "../forward/product_kinds.ts";
import type { Device } from "../gpu/device.ts";
import type { ScoreRule } from "../kernels/attention_shape.ts";
import type { KernelChoice } from "../kernels/choice.ts";
import { chooseKernels, type KernelNeeds } from "../kernels/choose.ts";
import { takesInt8 } from "../kernels/many_row_matmul.ts";
import { formatName } from "../kernels/weight_format.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Dtype, ModelDtype } from "../types.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import { conversionsOf } from "../weights/conversions.ts";
import type { Holding } from "../weights/dtype.ts";
import type { ModelWeights } from "../weights/held_weights.ts";
import { chooseHolding, smallerHolding } from "../weights/holding.ts";
import { headFormats, type WeightPlan } from "../weights/plan.ts";
import { uploadWeights } from "../weights/upload.ts";
import type { readKernelOptions } from "./kernel_options.ts";
import { memoryFor } from "./memory_estimate.ts";

/** What is needed to put a checkpoint on a device. */
export interface Placing {
  device: Device;
  checkpoint: Checkpoint;
  spec: ModelSpec;
  contextLength: number;
  kvBudget: number;
  /** As the caller asks; or exactly what it was held in before. */
  asked: Dtype | "auto" | Holding;
  forced: ReturnType<typeof readKernelOptions>;
  signal: AbortSignal | undefined;
}

/** A checkpoint on a device. */
export interface Placed {
  kernels: KernelChoice;
  weights: ModelWeights;
  dtype: ModelDtype;
  holding: Holding;
  warnings: readonly string[];
}

/**
 * Chooses kernels and the form of the weights, uploads these, and makes of them what they are for. Where the device has not the memory
 * and the data type is ours to choose, all is done again with the next smaller one, and the model says so (`warnings`).
 * @param make allocates what a model needs beside its weights
 * @throws GpuMemoryError when the smallest does not fit either
 */
export async function place<T>(
  { device, checkpoint, spec, contextLength, kvBudget, asked, forced, signal }: Placing,
  onProgress: (loadedBytes: number) => void,
  make: (placed: Placed) => Promise<T>,
): Promise<T> {
  const { bindableBytes } = device.ledger;
  const refusals: string[] = [];
  let chosen = chooseHolding(checkpoint, asked, memoryFor(device.info), bindableBytes);
  for (;;) {
    const { plan, name: dtype, holding } = chosen;
    const releaseAll = device.ledger.mark();
    try {
      const needs = kernelNeeds(checkpoint, plan);
      if (forced.manyRows === "int8") requireInt8(needs);
      const { kernels, warnings } = await abortable(chooseKernels(device, needs, forced), signal);
      requireContext(bindableBytes, spec, contextLength, kernels.kv);
      requireKvBudget(bindableBytes, spec, kvBudget, kernels.kv);
      const weights = await uploadWeights(device, checkpoint, plan, { dtype, signal, onProgress });
      return await make({ kernels, weights, dtype, holding, warnings: [...refusals, ...warnings] });
    } catch (error) {
      const isFull = error instanceof GpuMemoryError && asked === "auto";
      const smaller = isFull ? smallerHolding(checkpoint, chosen, bindableBytes) : undefined;
      if (!smaller) throw error;
      releaseAll();
      refusals.push(`${(error as GpuMemoryError).message}; floats are held in ${smaller.holding.dtype} instead`);
      chosen = smaller;
    }
  }
}

/** What the kernels of a model are tried for. */
function kernelNeeds(checkpoint: Checkpoint, plan: WeightPlan): KernelNeeds {
  const { spec } = checkpoint;
  return {
    layers: productKinds(spec, plan.layers, "f32"),
    head: headFormats(plan),
    headShape: spec,
    scoreRules: scoreRules(spec),
    ...{ headNorm: spec.headNorm, norms: spec.norms },
    gate: plan.layers.some(({ ungated }) => ungated.length > 0) ? spec.activation : undefined,
    conversions: conversionsOf(plan, checkpoint),
  };
}

/** What layers do to scores, each rule once. */
function scoreRules({ attention, attentionScale: scale, attentionSoftCap: softCap }: ModelSpec): ScoreRule[] {
  return [...new Set(attention.map(({ window }) => window))].map((window) => ({ scale, softCap, window }));
}

function requireInt8({ layers }: KernelNeeds): void {
  const floats = layers.find(({ format }) => !takesInt8(format));
  if (!floats) return;
  const found = `"int8" with ${formatName(floats.format)}`;
  const expected = "a dtype of symmetric block codes, q8 or q4";
  throw new InputError({ file: "load", field: "kernels.manyRows", found, expected });
}
