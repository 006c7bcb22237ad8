/**
 * An exit adapter's keys and values. Its block is the model's own next layer: whoever drafts, after every round they are those of that
 * layer for all of the text, bit for bit. So each committed token has left them, and what was refused has left nothing.
 */

import { expect, test } from "vitest";
import { decode } from "../../src/decode/decoding.ts";
import type { HostDrafter } from "../../src/decode/drafters/host_drafter.ts";
import { plainPlan, type RoundPlan } from "../../src/decode/plan.ts";
import { GpuMemoryError } from "../../src/errors.ts";
import { openFolder } from "../../src/platform/node.ts";
import { loadExitAdapter } from "../../src/session/exit_adapter.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { openEngine } from "../engine.ts";
import { adapterFile, nextLayerAdapter } from "../exit_adapters.ts";
import { FAMILIES, familyFolder } from "../families.ts";
import { STORIES } from "../memory_folder.ts";
import { seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";
import { RandomTrees } from "./random_trees.ts";

const CONTEXT = 128;
const NEW_TOKENS = 80;

test.each<[name: string, folder: string, exitLayer: number]>([
  ["the default model", STORIES, 2],
  ...(SLOW ? FAMILIES.map((name): [string, string, number] => [name, familyFolder(name), 1]) : []),
])("%s: after every round they are the next layer's", async (_, folder, exitLayer) => {
  const { device, kv, table, scheduler, rounds, spec, forward } = await openEngine(folder, CONTEXT);
  const checkpoint = await openCheckpoint(openFolder(folder));
  const { layers } = checkpoint.tensors;
  await checkpoint.close();
  const holding = { dtype: "f32", keepsBlocks: false } as const;
  const file = adapterFile(await nextLayerAdapter(folder, exitLayer));
  await loadExitAdapter({ device, forward, table, layers, holding }, file, {});
  const own = forward.exitAdapter!.cache!;
  const both = [own.keys, kv.keys[exitLayer]!, own.values, kv.values[exitLayer]!];
  // What was never written shows.
  for (const buffer of [own.keys, own.values]) {
    device.handle.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(NaN));
  }
  const read = async (length: number) => {
    const bytes = length * kv.slotBytes;
    const parts = await device.run("read KV", (recorder) =>
      both.map((buffer) => {
        const copy = device.ledger.allocate("test", "KV", bytes, GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ);
        recorder.copy(buffer, 0, copy, 0, bytes);
        return copy;
      }),
    );
    device.ledger.releaseOwner("test");
    return parts.map((part) => new Uint32Array(part));
  };

  await seeded(async (random) => {
    const plans: RoundPlan[] = [
      { drafter: "adapter", exitLayer, draftLength: 3 },
      plainPlan(spec.layers),
      { drafter: "own", exitLayer: 0, draftLength: 0, treeSize: 9 },
      { drafter: "adapter", exitLayer, draftLength: 1 },
      { exitLayer: 1, draftLength: 2 },
      ...(spec.layers > exitLayer + 1 ? [{ exitLayer: exitLayer + 1, draftLength: 4 }] : []),
    ];
    const promptIds = random.ints(7, 3, spec.vocabSize - 1);
    const limits = { maxTokens: NEW_TOKENS, contextLength: CONTEXT, eosTokenIds: [] };
    /** The text that rounds of these plans give; `told` how long it has become. */
    const run = async (
      plans: readonly RoundPlan[],
      drafter: HostDrafter | undefined,
      told: (length: number) => Promise<void>,
    ) => {
      const text = [...promptIds];
      scheduler.begin(limits, (await scheduler.prepare(plans))());
      const prefill = await scheduler.prefill(promptIds, () => false);
      let round = 0;
      const controller = { plan: () => plans[round++ % plans.length]!, observe: () => {} };
      for await (const { report } of decode(rounds, prefill!, {
        ...{ lane: 0, promptIds, vocabSize: spec.vocabSize },
        limits,
        controller,
        drafter,
        observe: () => {},
      })) {
        text.push(...report.ids);
        await told(report.length);
      }
      return text;
    };
    const text = await run([plainPlan(spec.layers)], undefined, async () => {});
    let compared = 0;
    const drafted = await run(plans, new RandomTrees(random, text, [9]), async (length) => {
      const [keys, nextKeys, values, nextValues] = await read(length);
      expect(keys).toEqual(nextKeys);
      expect(values).toEqual(nextValues);
      compared++;
    });
    expect(drafted).toEqual(text);
    expect(compared).toBeGreaterThan(2 * plans.length);
  })();
  device.dispose();
});

test("where there is no room for two, the one before goes first; where there is none for one, none is left", async () => {
  const { device, table, scheduler, forward, spec } = await openEngine(STORIES, 64);
  const checkpoint = await openCheckpoint(openFolder(STORIES));
  await checkpoint.close();
  const target = {
    device,
    forward,
    table,
    layers: checkpoint.tensors.layers,
    holding: { dtype: "f32", keepsBlocks: false },
  } as const;
  const load = async (exitLayer: number) =>
    await loadExitAdapter(target, adapterFile(await nextLayerAdapter(STORIES, exitLayer)), {});
  const before = device.ledger.report().buffers;
  await load(1);
  const withOne = device.ledger.report().buffers;

  const { pushErrorScope, popErrorScope } = device.handle;
  const scopes: GPUErrorFilter[] = [];
  let refusals = 0;
  Object.defineProperties(device.handle, {
    pushErrorScope: {
      value(filter: GPUErrorFilter) {
        scopes.push(filter);
        return pushErrorScope.call(device.handle, filter);
      },
    },
    popErrorScope: {
      value() {
        const refused = scopes.pop() === "out-of-memory" && refusals-- > 0;
        const popped = popErrorScope.call(device.handle);
        return refused ? popped.then(() => ({ message: "full" })) : popped;
      },
    },
  });
  refusals = 1;
  await load(2);
  expect(forward.exitAdapter).toMatchObject({ exitLayer: 2 });
  expect(device.ledger.report().buffers).toBe(withOne);

  refusals = Number.POSITIVE_INFINITY;
  await expect(load(3)).rejects.toThrow(GpuMemoryError);
  refusals = 0;
  expect(forward.exitAdapter).toBeUndefined();
  expect(device.ledger.report().buffers).toBe(before);
  // Plain decoding goes on.
  const plan = plainPlan(spec.layers);
  scheduler.begin({ maxTokens: 4, contextLength: 64, eosTokenIds: [] }, (await scheduler.prepare([plan]))());
  expect(await (await scheduler.prefill([1, 2, 3], () => false))!.report).toMatchObject({ length: 3 });
  device.dispose();
});
