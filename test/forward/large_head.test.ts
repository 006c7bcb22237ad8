/**
 * Within WebGPU's default limits: a device that binds 128 MiB and no more runs a head that is larger, in parts, and selects
 * from a vocabulary of 262,144 what its logits say.
 */

import { expect, test } from "vitest";
import { SHAPES } from "../../bench/shapes.ts";
import { syntheticModel } from "../../bench/synthetic.ts";
import { plainPlan } from "../../src/decode/plan.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { Device } from "../../src/gpu/device.ts";
import { bestChoice } from "../../src/kernels/choice.ts";
import { RANGE_VERIFY } from "../../src/kernels/constants.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { bindingAtMost, DEFAULT_BINDING } from "../bound_gpu.ts";
import { Random, randomSeed } from "../reference/random.ts";

test("a head of 160 MiB in two parts, 262,144 ids", async () => {
  const device = await Device.open(bindingAtMost(await defaultGpu(), DEFAULT_BINDING));
  try {
    expect(device.handle.limits.maxStorageBufferBindingSize).toBe(DEFAULT_BINDING);
    const spec = { ...SHAPES["SmolLM2-135M"], layers: 1, hiddenSize: 160, intermediateSize: 64, heads: 2, kvHeads: 1 };
    const large = { ...spec, vocabSize: 262_144 };
    const kernels = bestChoice(device);
    const { forward, scheduler, weights } = syntheticModel(device, large, {
      dtype: "f32",
      kernels,
      contextLength: 64,
    });
    expect(weights.head.map((part) => part.firstColumn)).toEqual([0, 131_072]);
    // The made-up weights repeat from part to part; without numbers of its own the second would lose every tie.
    const random = new Random(randomSeed());
    const own = random.normals(2 ** 16 + 4, 0.02);
    const second = weights.head[1]!.weight;
    for (let at = 0; at < second.size; at += own.byteLength) {
      device.handle.queue.writeBuffer(second, at, own, 0, Math.min(own.length, (second.size - at) / 4));
    }
    const logits = await forward.prepareLogits([1], "generated");
    const selection = (await scheduler.prepare([]))();

    const chosen: number[] = [];
    const largest: number[] = [];
    const { COPY_DST, MAP_READ } = GPUBufferUsage;
    const read = device.ledger.allocate("test", "logits", large.vocabSize * 4, COPY_DST | MAP_READ);
    for (const token of [0, 3, 99, 77_777, 100_000, 131_071, 131_072, 150_000, 200_000, 222_222, 262_142, 262_143]) {
      scheduler.begin({ maxTokens: 9, contextLength: 64, eosTokenIds: [] }, selection, { length: 0, pending: token });
      const report = await scheduler.round(plainPlan(1), 0).report;
      // The round has left its row where the head takes it from.
      const recorder = new Recorder(device.handle, "large head");
      forward.head.logits(recorder, { range: RANGE_VERIFY, count: 1, end: 1 });
      recorder.copy(logits, 0, read, 0, read.size);
      device.submit(recorder);
      const row = new Float32Array(await device.read(read, read.size));
      chosen.push(...report.ids);
      largest.push(row.indexOf(row.reduce((a, b) => Math.max(a, b))));
    }
    expect(chosen).toEqual(largest);
    expect(new Set(chosen.map((id) => id >= 131_072)).size, "both parts have been chosen from").toBe(2);
  } finally {
    device.dispose();
  }
});
