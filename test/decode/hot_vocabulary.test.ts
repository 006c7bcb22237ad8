/** Drafts over hot ids: the same products to the bit, the same text, less of the head read. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Recorder } from "../../src/gpu/commands.ts";
import { InputError, load, type Model } from "../../src/index.ts";
import { RANGE_VERIFY } from "../../src/kernels/constants.ts";
import type { Dtype } from "../../src/types.ts";
import { openEngine } from "../engine.ts";
import { STORIES } from "../memory_folder.ts";
import { seeded } from "../reference/random.ts";

describe.each<Dtype>(["f32", "f16", "q8", "q4"])("a head in %s", (dtype) => {
  test(
    "over some ids has the logits of the whole one at these ids, bit for bit",
    seeded(async (random) => {
      const engine = await openEngine(STORIES, 64, { dtype });
      const { device, forward, scheduler, spec } = engine;
      try {
        const size = 100;
        const all = Array.from({ length: spec.vocabSize }, (_, id) => ({ id, key: random.uniform() }));
        const chosen = all.sort((a, b) => a.key - b.key).slice(0, size);
        const ids = Uint32Array.from(chosen.map(({ id }) => id).sort((a, b) => a - b));
        const begin = await scheduler.prepare([]);
        const logits = await forward.prepareLogits([1], "generated");
        const hot = await forward.prepareHotHead(size);
        hot.columns.fill(ids);
        const hotLogits = await hot.head.allocateLogits();
        // A round leaves a hidden state where the head takes it from.
        scheduler.begin({ maxTokens: 9, contextLength: 64, eosTokenIds: [] }, begin(), { length: 0, pending: 7 });
        await scheduler.round({ exitLayer: spec.layers, draftLength: 0 }, 0).report;
        const row = { range: RANGE_VERIFY, count: 1, end: 1 };
        const read = (buffer: GPUBuffer, bytes: number, record: (recorder: Recorder) => void) =>
          device.run("heads", (recorder) => {
            record(recorder);
            const { COPY_DST, MAP_READ } = GPUBufferUsage;
            const copy = device.ledger.allocate("test", "copy", bytes, COPY_DST | MAP_READ);
            recorder.copy(buffer, 0, copy, 0, bytes);
            return [copy];
          });
        const [whole] = await read(logits, spec.vocabSize * 4, (recorder) => forward.head.logits(recorder, row));
        const [some] = await read(hotLogits, size * 4, (recorder) => hot.head.logits(recorder, row));
        const expected = new Uint32Array(whole!);
        expect([...new Uint32Array(some!)]).toEqual([...ids].map((id) => expected[id]));
        expect(hot.columns.bytes).toBeLessThan(
          ((size + 1) / spec.vocabSize) *
            engine.weights.head.reduce((sum, { weight, scales }) => sum + weight.size + scales.size, 0) +
            64,
        );
      } finally {
        device.dispose();
      }
    }),
  );
});

describe("a generation", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(STORIES);
  });
  afterAll(() => model.dispose());

  test.each([
    ["greedy", {}],
    ["sampled", { temperature: 0.8, topP: 0.95, seed: 5 }],
    ["with a confidence stop", { controller: "confidence" }],
    ["sampled with a confidence stop", { controller: "confidence", temperature: 1, repetitionPenalty: 1.1, seed: 6 }],
  ] as const)("%s: the same ids with 16, 100 and 300 hot ids", async (_, options) => {
    const drafting = { exitLayer: 3, draftLength: 5, maxTokens: 60, ...options };
    const whole = await model.generate("Once upon a time", drafting).result();
    const rates: number[] = [];
    for (const hotVocabulary of [16, 100, 300]) {
      const { ids, stats } = await model.generate("Once upon a time", { ...drafting, hotVocabulary }).result();
      expect(ids).toEqual(whole.ids);
      rates.push(stats.acceptanceRate);
    }
    // Ids that are left out cannot be drafted.
    expect(rates[0]!).toBeLessThan(whole.stats.acceptanceRate);
    expect(rates[2]!).toBeGreaterThan(rates[0]!);
  });

  test("the prompt's own ids are hot", async () => {
    const prompt = [1, 477, 502, 488, 477, 502, 488, 477, 502, 488];
    const options = { exitLayer: 4, draftLength: 4, maxTokens: 30, ignoreEos: true };
    const { ids } = await model.generate(prompt, { ...options, hotVocabulary: 40 }).result();
    expect(ids).toEqual((await model.generate(prompt, options).result()).ids);
  });

  test("as many ids as there are is the whole head; more memory is not taken a second time", async () => {
    const options = { exitLayer: 2, draftLength: 3, maxTokens: 10 };
    await model.generate("Once", { ...options, hotVocabulary: 64 }).result();
    const hot = () => model.memory().byOwner["hot head"];
    const before = hot();
    await model.generate("Once", { ...options, hotVocabulary: 512 }).result();
    await model.generate("Once", { ...options, hotVocabulary: 65 }).result();
    await model.generate("Once", { ...options, hotVocabulary: 64 }).result();
    expect(before).toBeGreaterThan(64 * 64 * 4);
    expect(hot()).toBe(before);
  });

  test("it is refused with the ratio rule, and what is no number", () => {
    expect(() => model.generate("a", { hotVocabulary: 64, acceptRule: "ratio", temperature: 1 })).toThrow(InputError);
    expect(() => model.generate("a", { hotVocabulary: -1 })).toThrow(/generate: hotVocabulary: found -1/);
  });
});
