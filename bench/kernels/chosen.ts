/** The kernels that are measured: those that a model of a shape gets on this device, tried as when one is loaded. */

import { GpuError } from "../../src/errors.ts";
import { productKinds } from "../../src/forward/product_kinds.ts";
import type { Device } from "../../src/gpu/device.ts";
import { type ChosenKernels, chooseKernels } from "../../src/kernels/choose.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import type { Dtype } from "../../src/types.ts";
import { formatsOf } from "../../src/weights/dtype.ts";
import type { Settings } from "./choice_settings.ts";

/**
 * @param settings variants that are measured whatever the device would choose
 * @throws GpuError when one of them does not compute right here
 */
export async function chosenKernels(
  device: Device,
  spec: ModelSpec,
  dtype: Dtype,
  settings: Settings = {},
): Promise<ChosenKernels> {
  const { fewRows } = settings;
  if (fewRows?.kind === "subgroup") requireSubgroups(device, fewRows.slices);
  const { layers, head } = formatsOf(dtype);
  const traits = [{ format: layers, bias: false }];
  const products = productKinds(
    spec,
    [{ qkv: traits, output: traits, gateUp: traits, ungated: [], down: traits }],
    "f32",
  );
  const { headNorm, norms } = spec;
  const needs = { layers: products, head: [head], headShape: spec, headNorm, norms, conversions: [] };
  return chooseKernels(device, needs, settings);
}

/** It must be known how small subgroups can get, not tried: lanes of two subgroups cannot add up one output. */
function requireSubgroups({ info }: Device, slices: number): void {
  const smallest = info.features.includes("subgroups") ? (info.subgroupMinSize ?? 0) : 0;
  if (smallest >= slices) return;
  const has = smallest > 0 ? `this device's may have ${smallest}` : "this device does not tell of any";
  throw new GpuError("few-row matmul", `subgroup:${slices} needs subgroups of at least ${slices} threads: ${has}`);
}
