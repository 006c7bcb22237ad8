/** What a model is and takes, from its settings and headers alone: before a download, without a device. */

import { defaultGpu, gpuBackend } from "#platform";
import { FileFormatError, GpuError, GpuUnavailableError, UnsupportedModelError } from "../errors.ts";
import { requireContext } from "../forward/context_limit.ts";
import { KvCache } from "../forward/kv_cache.ts";
import { Device } from "../gpu/device.ts";
import type { DeviceInfo } from "../gpu/device_info.ts";
import type { ModelSpec } from "../model/spec.ts";
import { openSource } from "../sources/open.ts";
import type { CheckOptions, Dtype, ModelCheck, ModelSource } from "../types.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { DTYPES } from "../weights/dtype.ts";
import { type ChosenHolding, chooseHolding } from "../weights/holding.ts";
import { plannedBytes } from "../weights/plan.ts";
import { completedSpec } from "./completed_spec.ts";
import { contextLengthOf } from "./context_length.ts";
import { readKernelOptions } from "./kernel_options.ts";
import { memoryFor } from "./memory_estimate.ts";
import { requireKnown } from "./options.ts";
import { sourceOptions } from "./source_options.ts";
import { readText } from "./text.ts";

const CHECK_OPTIONS: readonly (keyof CheckOptions)[] = [
  "cache",
  "contextLength",
  "endpoint",
  "gpu",
  "kernels",
  "onDownload",
  "signal",
  "token",
];

/** What every device binds at least, where there is none to ask. */
const LEAST_BINDING = 128 * 2 ** 20;

/** The public `check` (src/layerleap.ts). */
export async function check(source?: ModelSource, options: CheckOptions = {}): Promise<ModelCheck> {
  requireKnown("check", options, CHECK_OPTIONS);
  const { kv = "f32" } = readKernelOptions(options.kernels, "check");
  const { signal } = options;
  signal?.throwIfAborted();
  const reach = sourceOptions(options);
  const folder = await openSource(source, reach);
  const device = await deviceOf(options);
  const found = { name: folder.name, ...(device && { device }) };
  let checkpoint: Checkpoint;
  try {
    checkpoint = await openCheckpoint(folder, signal);
  } catch (error) {
    return { ...found, supported: false, reason: reasonOf(error) };
  }
  try {
    const { name, parameters, fileBytes, missingBytes } = checkpoint;
    const facts = {
      ...{ ...found, name, parameters, family: checkpoint.spec.family },
      ...(missingBytes !== undefined && {
        download: { totalBytes: fileBytes, cachedBytes: fileBytes - missingBytes, kept: folder.verified !== undefined },
      }),
    };
    let spec: ModelSpec;
    try {
      spec = completedSpec(checkpoint, (await readText(checkpoint.text)).eosTokenIds);
    } catch (error) {
      return { ...facts, supported: false, reason: reasonOf(error) };
    }
    const contextLength = contextLengthOf("check", options.contextLength, spec);
    if (device) requireContext(bindableBytes(device), spec, contextLength, kv, "check");
    return {
      ...facts,
      layerSkip: spec.layerSkip !== undefined,
      supported: true,
      contextLength,
      ...memoryOf(checkpoint, KvCache.bytes(spec, contextLength, kv), device),
    };
  } finally {
    await checkpoint.close();
  }
}

/** @throws what is no fault of the model */
function reasonOf(error: unknown): string {
  if (error instanceof UnsupportedModelError || error instanceof FileFormatError) return error.message;
  throw error;
}

async function deviceOf({ gpu }: CheckOptions): Promise<DeviceInfo | undefined> {
  if (gpu) return Device.look(gpu as GPU);
  try {
    return await Device.look(await defaultGpu(), gpuBackend());
  } catch (error) {
    if (error instanceof GpuUnavailableError) return undefined;
    throw error;
  }
}

function bindableBytes({ limits }: DeviceInfo): number {
  return Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
}

/** GPU memory for weights and context, in each data type, and which of them would be chosen. */
function memoryOf(
  checkpoint: Checkpoint,
  contextBytes: number,
  device: DeviceInfo | undefined,
): Pick<ModelCheck, "memory" | "recommendedDtype"> {
  const bindable = device ? bindableBytes(device) : LEAST_BINDING;
  const availableBytes = device && memoryFor(device);
  const neededBytes: NonNullable<ModelCheck["memory"]>["neededBytes"] = {};
  const note = (asked: Dtype | "auto"): ChosenHolding | undefined => {
    try {
      const chosen = chooseHolding(checkpoint, asked, availableBytes ?? 0, bindable);
      neededBytes[chosen.name] = plannedBytes(chosen.plan) + contextBytes;
      return chosen;
    } catch (error) {
      if (error instanceof GpuError) return undefined; // the device cannot bind it
      throw error;
    }
  };
  for (const dtype of DTYPES) note(dtype);
  const chosen = note("auto");
  if (availableBytes === undefined) return { memory: { neededBytes } };
  return { memory: { neededBytes, availableBytes }, ...(chosen && { recommendedDtype: chosen.name }) };
}
