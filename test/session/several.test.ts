/**
 * Several generations at a time: rounds that can share a pass are packed into one, each text has the ids that it has alone, and whoever
 * waits, leaves or fails is in nobody's way.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  BusyError,
  DisposedError,
  type GenerateOptions,
  type Generation,
  type GenerationResult,
  load,
  type Model,
} from "../../src/index.ts";
import { randomDrafting, randomSampling } from "../decode/random_options.ts";
import { STORIES } from "../memory_folder.ts";
import { type Random, seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";

interface Asked {
  prompt: number[];
  sampling: GenerateOptions;
  drafting: GenerateOptions;
}

function randomAsked(random: Random, { spec }: Model): Asked {
  const sampling = random.uniform() < 0.5 ? { ...randomSampling(random, spec.vocabSize) } : {};
  return {
    prompt: random.ints(random.int(1, 40), 3, spec.vocabSize - 1),
    sampling: { ...sampling, maxTokens: random.int(1, 60), ignoreEos: random.uniform() < 0.7 },
    drafting: random.pick([
      { drafter: "auto" as const },
      { drafter: "layerskip" as const, exitLayer: random.int(1, 4), draftLength: random.int(1, 6) },
      { drafter: "layerskip" as const, exitLayer: 2, draftLength: random.int(1, 6) },
      { drafter: "none" as const },
      randomDrafting(random, spec.layers, 31),
    ]),
  };
}

/** Runs to its end, or leaves after some parts. */
async function take(generation: Generation, parts = Number.POSITIVE_INFINITY): Promise<GenerationResult> {
  let taken = 0;
  for await (const _ of generation) if (++taken >= parts) break;
  return generation.result();
}

/** Seeds that were drawn, so that a text can be had again. */
const seedOf = ({ seed }: GenerationResult) => (seed === undefined ? {} : { seed });

async function expectAlone(model: Model, { prompt, sampling }: Asked, result: GenerationResult): Promise<void> {
  const options = { ...sampling, ...seedOf(result), drafter: "none" as const, reusePrompt: false };
  const { ids, finishReason } = await model.generate(prompt, options).result();
  expect(result.ids).toEqual(ids.slice(0, result.ids.length));
  if (result.finishReason === "abort") return;
  expect(result.ids).toHaveLength(ids.length);
  expect(result.finishReason).toBe(finishReason);
}

describe("eight texts at a time", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(STORIES, { contextLength: 128, kvBudget: 8 * 128, cache: false });
  });
  afterAll(() => model.dispose());

  test.each(Array.from({ length: SLOW ? 30 : 2 }, (_, i) => i))(
    "batch %i: whoever drafts, and whoever leaves, each is the text that it is alone; nothing is left",
    (_) =>
      seeded(async (random) => {
        const asked = Array.from({ length: 8 }, () => randomAsked(random, model));
        const results = await Promise.all(
          asked.map(async ({ prompt, sampling, drafting }) => {
            const generation = model.generate(prompt, { ...sampling, ...drafting });
            return take(generation, random.uniform() < 0.3 ? random.int(1, 12) : undefined);
          }),
        );
        for (const [i, result] of results.entries()) await expectAlone(model, asked[i]!, result);
        model.clearKvCache();
        expect(model.kvCache).toMatchObject({ tokens: 0, texts: 0 });
      })(),
  );

  test("rounds are packed: eight texts take little more submissions than one, with draft lengths of their own", async () => {
    const run = (i: number) => {
      const drafting = { drafter: "layerskip" as const, exitLayer: 2, draftLength: 1 + (i % 5) };
      return model.generate([1, 403 + i, 407], { maxTokens: 40, ignoreEos: true, ...drafting }).result();
    };
    const results = await Promise.all(Array.from({ length: 8 }, (_, i) => run(i)));
    const rounds = results.map((result) => result.rounds.length);
    const submits = Math.max(...results.map(({ stats }) => stats.submits));
    const all = rounds.reduce((sum, count) => sum + count, 0);
    expect(all).toBeGreaterThan(2 * Math.max(...rounds));
    expect(submits).toBeLessThan(all / 2);
    for (const [i, result] of results.entries()) {
      expect(Math.max(...result.rounds.map(({ drafted }) => drafted))).toBe(1 + (i % 5));
      expect((await run(i)).ids).toEqual(result.ids);
    }
  });

  test("greedy and sampled texts, with penalties of their own, do not mix", async () => {
    const prompt = model.tokenize("Once upon a time");
    const [first] = (await model.generate(prompt, { maxTokens: 1 }).result()).ids;
    const options: GenerateOptions[] = [
      {},
      { temperature: 1, seed: 1 },
      { temperature: 1, seed: 2 },
      { temperature: 0.5, seed: 1, topK: 5, repetitionPenalty: 1.5 },
      { temperature: 1.5, seed: 3, minP: 0.1, frequencyPenalty: 1 },
      { logitBias: { [first!]: -Infinity } },
      { temperature: 1, seed: 4, presencePenalty: 2, logitBias: { 10: 3 } },
      { repetitionPenalty: 1.3 },
    ];
    const asked = options.map((sampling) => ({
      prompt,
      sampling: { ...sampling, maxTokens: 40, ignoreEos: true },
      drafting: { drafter: "layerskip" as const, draftLength: 3 },
    }));
    const results = await Promise.all(
      asked.map(({ prompt, sampling, drafting }) => model.generate(prompt, { ...sampling, ...drafting }).result()),
    );
    for (const [i, result] of results.entries()) await expectAlone(model, asked[i]!, result);
    expect(new Set(results.map(({ text }) => text)).size).toBe(8);
  });

  test("many more than there are lanes: all come to their end, in turn", async () => {
    const ended: number[] = [];
    const runs = Array.from({ length: 20 }, async (_, i) => {
      await model.generate([1, 400 + i], { maxTokens: 6, ignoreEos: true, drafter: "none" }).result();
      ended.push(i);
    });
    await Promise.all(runs);
    expect(ended).toHaveLength(20);
    // Texts of the same length: nobody of the last four is done before anybody of the first four.
    expect(Math.max(...[0, 1, 2, 3].map((i) => ended.indexOf(i)))).toBeLessThan(
      Math.min(...[16, 17, 18, 19].map((i) => ended.indexOf(i))),
    );
  });

  test("what is made for one text runs alone: hot ids, a second model, the ratio rule", async () => {
    const drafter = await model.loadDraftModel(STORIES);
    const prompt = "One day, a little girl";
    const shared = { maxTokens: 20, ignoreEos: true };
    const plain = await model.generate(prompt, { ...shared, drafter: "none" }).result();
    const runs = [
      { drafter: "layerskip" as const },
      { drafter },
      { drafter: "layerskip" as const, hotVocabulary: 64 },
      { drafter: "lookup" as const },
      { drafter },
      { drafter: "layerskip" as const, hotVocabulary: 128 },
      { drafter: "auto" as const },
    ];
    const results = await Promise.all(
      runs.map((drafting) => model.generate(prompt, { ...shared, ...drafting }).result()),
    );
    for (const { ids } of results) expect(ids).toEqual(plain.ids);
    const ruled = () =>
      model.generate(prompt, { ...shared, drafter: "layerskip", temperature: 1, seed: 9, acceptRule: "ratio" });
    const [one, other] = await Promise.all([ruled().result(), ruled().result()]);
    expect(one!.ids).toEqual(other!.ids);
  });
});

describe("who waits, leaves or is refused", () => {
  test("a budget for one text: the second one waits for it, or gives up", async () => {
    await using model = await load(STORIES, { contextLength: 128, cache: false });
    const first = model.generate("Once", { ignoreEos: true });
    const parts = first[Symbol.asyncIterator]();
    await parts.next();
    const aborted = new AbortController();
    const waiting = model.generate("Twice", { maxTokens: 100, signal: aborted.signal }).result();
    const patient = model.generate("Thrice", { maxTokens: 100, ignoreEos: true }).result();
    const left = model.generate("Never", { maxTokens: 100 });
    const leaving = left[Symbol.asyncIterator]().next();
    aborted.abort();
    expect(await waiting).toMatchObject({ finishReason: "abort", ids: [] });
    await left[Symbol.asyncDispose]();
    expect(await leaving).toMatchObject({ done: true });
    await parts.return?.();
    expect((await patient).ids).toHaveLength(100);
  });

  test("texts with large trees take no more room than they were given", async () => {
    const contextLength = 512;
    // Each is given 3 pages: 12 tokens of prompt, 100 new ones, and rows that are refused.
    await using model = await load(STORIES, { contextLength, kvBudget: contextLength + 64, cache: false });
    const run = (i: number) => {
      const options = { maxTokens: 100, ignoreEos: true, drafter: "lookup", treeSize: 63 } as const;
      return model.generate([1, ...Array.from({ length: 11 }, (_, k) => 400 + ((i + k) % 9))], options).result();
    };
    const results = await Promise.all([0, 1, 2].map(run));
    for (const { ids } of results) expect(ids).toHaveLength(100);
    expect(model.kvCache.tokens).toBeLessThanOrEqual(contextLength + 64);
  });

  test("small texts share a budget of one context", async () => {
    await using model = await load(STORIES, { contextLength: 512, cache: false });
    const generations = ["Once", "Twice"].map((prompt) => model.generate(prompt, { maxTokens: 20, ignoreEos: true }));
    const iterators = generations.map((generation) => generation[Symbol.asyncIterator]());
    // Both are under way at once: neither waits for the other's end.
    for (let i = 0; i < 3; i++) for (const iterator of iterators) expect((await iterator.next()).done).toBe(false);
    for (const generation of generations) expect((await generation.result()).ids).toHaveLength(20);
  });

  test("what is no generation is refused meanwhile; a disposed model ends all, also those that wait", async () => {
    const model = await load(STORIES, { contextLength: 128, kvBudget: 256, cache: false });
    const running = ["One", "Two"].map((prompt) => model.generate(prompt, { ignoreEos: true }));
    const iterators = running.map((generation) => generation[Symbol.asyncIterator]());
    for (const iterator of iterators) await iterator.next();
    const waiting = model.generate("Three").result();
    await expect(model.score([1, 2])).rejects.toThrow(BusyError);
    expect(() => model.clearKvCache()).toThrow(BusyError);
    await model.dispose();
    await expect(waiting).rejects.toThrow(DisposedError);
    for (const generation of running) await expect(generation.result()).rejects.toThrow(DisposedError);
    expect(model.memory().buffers).toBe(0);
  });
});
