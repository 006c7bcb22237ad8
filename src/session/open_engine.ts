/** From a checkpoint to an engine on a device; and again to the same one, when that device is lost. */

import { KvCache } from "../forward/kv_cache.ts";
import type { Device } from "../gpu/device.ts";
import type { LoadOptions } from "../types.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import type { Folder } from "../weights/source.ts";
import { Engine } from "./engine.ts";
import type { LoadMeter } from "./load_progress.ts";
import { openDeviceAgain } from "./open_device.ts";
import { type Placing, place } from "./place.ts";

/** Puts a checkpoint on a device, with what a model needs beside its weights. @throws the errors of `load` */
export async function openEngine(placing: Placing, meter: LoadMeter): Promise<Engine> {
  const { device, spec, contextLength, kvBudget, checkpoint } = placing;
  const { name, weightBytes, tensors } = checkpoint;
  const onProgress = (loadedBytes: number) => meter.report("upload", loadedBytes, weightBytes);
  return place(placing, onProgress, (placed) => {
    const what = `${name} (keys and values of ${kvBudget} tokens)`;
    const bytes = KvCache.bytes(spec, kvBudget, placed.kernels.kv);
    const { layers } = tensors;
    return device.allocating(
      what,
      bytes,
      () => new Engine({ device, spec, contextLength, kvBudget, layers, ...placed }),
    );
  });
}

/** What an engine was made of. */
export interface ReopenOptions {
  /** Its files, which say themselves where they have changed. */
  folder: Folder;
  /** What it is like, whatever the device. */
  shape: Pick<Placing, "spec" | "contextLength" | "kvBudget">;
  /** What is to be had again: other kernels or another type of weights would give other bits. */
  lost: Engine;
  /** Gives it what drafts. */
  furnish: (engine: Engine) => Promise<void>;
  gpu: LoadOptions["gpu"];
  signal: AbortSignal;
}

/**
 * Makes an engine once more, on the device that is there now. Where that is the same as before, it computes the same to the bit.
 * @throws the errors of `load`; SourceError also where the files are others now; GpuError where the kernels of before do not compute right here.
 * Nothing stays of it then.
 */
export async function reopenEngine(
  { folder, shape, lost, furnish, gpu, signal }: ReopenOptions,
  meter: LoadMeter,
): Promise<Engine> {
  meter.report("read", 0, 0);
  const checkpoint = await openCheckpoint(folder, signal);
  let device: Device | undefined;
  try {
    device = await openDeviceAgain(gpu, signal);
    meter.report("compile", 0, 0);
    const { holding: asked, kernels: forced } = lost;
    const engine = await openEngine({ ...shape, device, checkpoint, asked, forced, signal }, meter);
    await folder.verified?.(signal);
    await furnish(engine);
    meter.report("compile", checkpoint.weightBytes, checkpoint.weightBytes);
    meter.finish();
    return engine;
  } catch (error) {
    device?.dispose();
    throw error;
  } finally {
    await checkpoint.close();
  }
}
