/**
 * An engine with its inside open: what `load` puts together, for tests that need more than the public surface shows.
 */

import { RoundQueue } from "../src/decode/round_queue.ts";
import { Scheduler } from "../src/decode/scheduler.ts";
import { Forward } from "../src/forward/forward.ts";
import { KvCache } from "../src/forward/kv_cache.ts";
import { RowTable } from "../src/forward/row_table.ts";
import { Device } from "../src/gpu/device.ts";
import { bestChoice, type KernelChoice } from "../src/kernels/choice.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { defaultGpu, openFolder } from "../src/platform/node.ts";
import type { Dtype } from "../src/types.ts";
import { openCheckpoint } from "../src/weights/checkpoint.ts";
import type { ModelWeights } from "../src/weights/held_weights.ts";
import { planWeights } from "../src/weights/plan.ts";
import type { Folder } from "../src/weights/source.ts";
import { uploadWeights } from "../src/weights/upload.ts";

export interface Engine {
  device: Device;
  spec: ModelSpec;
  kv: KvCache;
  table: RowTable;
  forward: Forward;
  scheduler: Scheduler;
  rounds: RoundQueue;
  weights: ModelWeights;
}

export interface EngineOptions extends Partial<KernelChoice> {
  dtype?: Dtype;
  /** Block codes stay as their file has them. */
  keepsBlocks?: boolean;
  gpu?: GPU;
}

/** Loads a model and fills its KV cache with NaN: whatever reads past what was written shows. */
export async function openEngine(
  folder: string | Folder,
  contextLength: number,
  { dtype = "f32", keepsBlocks = false, gpu, ...kernels }: EngineOptions = {},
): Promise<Engine> {
  const checkpoint = await openCheckpoint(typeof folder === "string" ? openFolder(folder) : folder);
  const { spec } = checkpoint;
  const device = await Device.open(gpu ?? (await defaultGpu()));
  const weights = await uploadWeights(
    device,
    checkpoint,
    planWeights(checkpoint, { dtype, keepsBlocks }, device.ledger.bindableBytes),
  );
  await checkpoint.close();
  const choice = { ...bestChoice(device), ...kernels };
  const kv = new KvCache(device, spec, contextLength, choice.kv);
  poison(device, kv);
  const table = new RowTable(device, contextLength);
  const forward = new Forward(device, spec, weights, kv, table, contextLength, choice);
  const scheduler = new Scheduler(device, forward, table);
  return { device, spec, kv, table, forward, weights, scheduler, rounds: new RoundQueue(scheduler) };
}

/** Overwrites every key and value with NaN. */
export function poison(device: Device, kv: KvCache): void {
  for (const buffer of [...kv.keys, ...kv.values]) {
    device.handle.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
  }
}
