/**
 * Promise 1 for trees: whatever a drafter proposes, ids, how a text ends and the keys and values left behind are those of
 * plain decoding.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FixedController } from "../../src/decode/controllers/fixed.ts";
import { decode } from "../../src/decode/decoding.ts";
import type { DraftNode, DraftOutcome, HostDrafter } from "../../src/decode/drafters/host_drafter.ts";
import { plainPlan } from "../../src/decode/plan.ts";
import { InputError, load, type Model } from "../../src/index.ts";
import { openEngine, poison } from "../engine.ts";
import { FAMILIES, familyFolder } from "../families.ts";
import { STORIES } from "../memory_folder.ts";
import { type Random, seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";
import { randomDrafting, randomSampling } from "./random_options.ts";
import { RandomTrees } from "./random_trees.ts";

const TREE_SIZES = [1, 3, 8, 20, 63] as const;

async function compare(model: Model, random: Random, drafters: number, maxTokens: number): Promise<void> {
  const prompt = random.ints(random.int(1, 12), 3, model.spec.vocabSize - 1);
  const sampling = { ...randomSampling(random, model.spec.vocabSize), maxTokens, ignoreEos: random.uniform() < 0.5 };
  const plain = await model.generate(prompt, { ...sampling, drafter: "none" }).result();
  for (let i = 0; i < drafters; i++) {
    const trees = new RandomTrees(random, [...prompt, ...plain.ids], TREE_SIZES);
    const drafting = random.pick([{ drafter: trees }, randomDrafting(random, model.spec.layers, 63)]);
    const drafted = await model.generate(prompt, { ...sampling, ...drafting }).result();
    const asked = JSON.stringify({ prompt, ...sampling, ...drafting, treeSize: trees.treeSize });
    expect(drafted.ids, asked).toEqual(plain.ids);
    expect(drafted.finishReason).toBe(plain.finishReason);
    expect(drafted.tokens.map(({ logProb }) => logProb)).toEqual(plain.tokens.map(({ logProb }) => logProb));
    for (const outcome of trees.outcomes) expectWhole(outcome);
  }
}

/** What was accepted is a path of the tree from its root, and the text. */
function expectWhole({ drafts, accepted, ids }: DraftOutcome): void {
  let parent = -1;
  for (const [i, node] of accepted.entries()) {
    expect(drafts[node]).toEqual({ id: ids[i], parent });
    parent = node;
  }
}

describe("the default model", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(STORIES);
  });
  afterAll(() => model.dispose());

  test.each(Array.from({ length: SLOW ? 300 : 8 }, (_, i) => i))("text %i, plain and with 4 drafters", (_) =>
    seeded((random) => compare(model, random, 4, 24))(),
  );

  test(
    "the right path of a tree is found wherever it stands: few rounds",
    seeded(async (random) => {
      const prompt = "Once upon a time";
      const { ids, promptIds } = await model.generate(prompt, { drafter: "none", maxTokens: 41 }).result();
      const text = [...promptIds, ...ids];
      const drafter: HostDrafter = {
        name: "oracle",
        treeSize: 24,
        // Eight levels of three: the right one at a random place of each.
        propose({ ids: { length } }) {
          const nodes: DraftNode[] = [];
          let parent = -1;
          for (let depth = 0; depth < 8; depth++) {
            const right = random.int(0, 2);
            const next = nodes.length + right;
            for (let i = 0; i < 3; i++) nodes.push({ id: i === right ? (text[length + depth] ?? 0) : 5 + i, parent });
            parent = next;
          }
          return nodes;
        },
      };
      const { ids: drafted, rounds, stats } = await model.generate(prompt, { drafter, maxTokens: 41 }).result();
      expect(drafted).toEqual(ids);
      expect(rounds).toHaveLength(5);
      expect(stats.accepted).toBe(35);
      expect(stats.plans).toMatchObject([{ drafter: "own", treeSize: 24, rounds: 5 }]);
    }),
  );

  test("a chain of ids is a tree; garbage changes nothing", async () => {
    const plain = await model.generate("Once upon a time", { drafter: "none", maxTokens: 30 }).result();
    const garbage: (() => readonly number[] | readonly DraftNode[])[] = [
      () => plain.ids.slice(0, 5),
      () => [],
      () => [-1, 1e12, Number.NaN, 2.5, 511],
      () => Array.from({ length: 500 }, () => 7),
      () => Array.from({ length: 500 }, (_, i) => ({ id: i, parent: i })),
      () => [{ id: 3, parent: -7 }, { id: 4, parent: 0.5 }, { id: 5, parent: 1000 }, "x" as unknown as DraftNode],
    ];
    for (const propose of garbage) {
      const drafter = { name: "garbage", treeSize: 16, propose };
      const { ids } = await model.generate("Once upon a time", { drafter, maxTokens: 30 }).result();
      expect(ids).toEqual(plain.ids);
    }
  });

  test("what a drafter throws ends the generation with it, and the model is free again", async () => {
    const trouble = new Error("no idea");
    let asked = 0;
    const drafter: HostDrafter = {
      name: "clueless",
      propose: () => {
        if (++asked > 3) throw trouble;
        return [1];
      },
    };
    await expect(model.generate("Once", { drafter, maxTokens: 30 }).result()).rejects.toBe(trouble);
    expect(asked).toBe(4);
    await model.generate("Once", { maxTokens: 3 }).result();
  });

  test("an abort does not wait for a drafter that never answers", async () => {
    const controller = new AbortController();
    let asked = 0;
    const propose = () => {
      if (++asked < 3) return [1];
      setTimeout(() => controller.abort(), 20);
      return new Promise<never>(() => {});
    };
    const options = { drafter: { name: "silent", propose }, maxTokens: 30, signal: controller.signal };
    const { finishReason, ids } = await model.generate("Once", options).result();
    expect(finishReason).toBe("abort");
    expect(ids.length).toBeGreaterThan(0);
    await model.generate("Once", { maxTokens: 3 }).result();
  });

  test("what is no list is told", async () => {
    const propose = (() => undefined) as unknown as HostDrafter["propose"];
    const generation = model.generate("Once", { drafter: { name: "mute", propose }, maxTokens: 9 });
    await expect(generation.result()).rejects.toThrow("drafter.propose: found undefined");
  });

  test.each([
    ["an object without propose", { drafter: { name: "x" } as unknown as HostDrafter }, "drafter"],
    ["a tree that is too large", { drafter: { name: "x", treeSize: 64, propose: () => [] } }, "drafter.treeSize"],
    ["an exit layer", { drafter: { name: "x", propose: () => [] }, exitLayer: 2 }, "exitLayer"],
    ["the ratio rule", { drafter: { name: "x", propose: () => [] }, acceptRule: "ratio" as const }, "acceptRule"],
    ["a controller of chains", { drafter: { name: "x", propose: () => [] }, controller: "del" as const }, "controller"],
  ])("%s is refused", async (_, options, field) => {
    const refused = () => model.generate("Once", options);
    expect(refused).toThrow(InputError);
    expect(refused).toThrow(`generate: ${field}: found `);
  });
});

test.each<[name: string, folder: typeof STORIES]>([
  ["the default model", STORIES],
  ...(SLOW ? FAMILIES.map((name): [string, typeof STORIES] => [name, familyFolder(name)]) : []),
])(
  "%s: after every round the keys and values of the text are those of plain decoding, bit for bit",
  async (_, folder) => {
    const CONTEXT = 96;
    const engine = await openEngine(folder, CONTEXT);
    const { device, kv, scheduler, rounds, spec } = engine;
    await seeded(async (random) => {
      const promptIds = random.ints(5, 3, spec.vocabSize - 1);
      const limits = { maxTokens: 50, contextLength: CONTEXT, eosTokenIds: [] };
      const committed = async (length: number) => {
        const bytes = length * kv.slotBytes;
        const parts = await device.run("read KV", (recorder) =>
          [...kv.keys, ...kv.values].map((buffer) => {
            const read = device.ledger.allocate("test", "KV", bytes, GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ);
            recorder.copy(buffer, 0, read, 0, bytes);
            return read;
          }),
        );
        device.ledger.releaseOwner("test");
        return parts.map((part) => new Uint32Array(part));
      };
      const run = async (drafter: HostDrafter | undefined, told: (length: number) => Promise<void>) => {
        poison(device, kv);
        const plan = drafter
          ? { drafter: "own" as const, exitLayer: 0, draftLength: 0, treeSize: drafter.treeSize! }
          : plainPlan(spec.layers);
        const begin = await scheduler.prepare([plan]);
        scheduler.begin(limits, begin());
        const prefill = await scheduler.prefill(promptIds, () => false);
        const controller = new FixedController(plan);
        const ids: number[] = [];
        const { vocabSize } = spec;
        const options = { lane: 0, promptIds, limits, controller, vocabSize, drafter, observe: () => {} };
        for await (const { report } of decode(rounds, prefill!, options)) {
          ids.push(...report.ids);
          await told(report.length);
        }
        return ids;
      };
      const ids = await run(undefined, async () => {});
      // The whole text's keys and values; those of each part of it are their beginning.
      const whole = await committed(promptIds.length + ids.length - 1);
      for (let i = 0; i < 3; i++) {
        const drafted = await run(new RandomTrees(random, [...promptIds, ...ids], TREE_SIZES), async (length) => {
          const words = (length * kv.slotBytes) / 4;
          for (const [b, buffer] of (await committed(length)).entries()) {
            expect(buffer.every((word, at) => word === whole[b]![at] && at < words)).toBe(true);
          }
        });
        expect(drafted).toEqual(ids);
      }
    })();
    device.dispose();
  },
);
