/** Devices that are lost: a typed error, or, with `recover`, the same ids as if nothing had been. */

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  BusyError,
  DeviceLostError,
  DisposedError,
  type GenerateOptions,
  type Generation,
  type GenerationResult,
  GpuUnavailableError,
  InputError,
  load,
  type Model,
  type Round,
  SourceError,
} from "../../src/index.ts";
import { randomDrafting, randomSampling } from "../decode/random_options.ts";
import { adapterFile, nextLayerAdapter } from "../exit_adapters.ts";
import { memoryFolder, randomModelFolder, STORIES } from "../memory_folder.ts";
import { Random, seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";
import { type FragileGpu, fragileGpu } from "./fragile_gpu.ts";

const PROMPT = "Once upon a time";

interface Asked {
  prompt: number[];
  sampling: GenerateOptions;
  drafting: GenerateOptions;
}

function randomAsked(random: Random, { spec }: Model): Asked {
  return {
    prompt: random.ints(random.int(1, 60), 3, spec.vocabSize - 1),
    sampling: { ...randomSampling(random, spec.vocabSize), maxTokens: random.int(40, 90), ignoreEos: true },
    drafting: random.pick([
      { drafter: "auto" as const },
      { drafter: "none" as const },
      { drafter: "layerskip" as const, exitLayer: 2, draftLength: random.int(1, 6) },
      randomDrafting(random, spec.layers, 31),
    ]),
  };
}

/** The same text with nothing lost meanwhile, computed plainly and anew. */
async function undisturbed(model: Model, { prompt, sampling }: Asked) {
  const { ids, tokens } = await model.generate(prompt, { ...sampling, drafter: "none", reusePrompt: false }).result();
  return { ids, logprobs: tokens.map(({ logProb }) => logProb) };
}

/** Reads a generation that others read too, and loses its device in its prompt, or behind some of its parts. */
async function losing(generation: Generation, random: Random, lose: () => void): Promise<void> {
  const parts = generation[Symbol.asyncIterator]();
  for (let i = random.uniform() < 0.2 ? 0 : random.int(1, 15); i > 0; i--) await parts.next();
  await sleep(10 * random.uniform());
  lose();
}

/** A generation whose device is lost behind some of its tokens. */
async function lostAfter(generation: Generation, tokens: number, lose: () => void): Promise<GenerationResult> {
  let read = 0;
  for await (const { ids } of generation) {
    if (read < tokens && read + ids.length >= tokens) lose();
    read += ids.length;
  }
  return generation.result();
}

describe("with recover", () => {
  let fragile: FragileGpu;
  let model: Model;
  beforeAll(async () => {
    fragile = await fragileGpu();
    model = await load(STORIES, { gpu: fragile.gpu, recover: true, contextLength: 160, kvBudget: 480, cache: false });
  });
  afterAll(() => model.dispose());

  test.each(Array.from({ length: SLOW ? 20 : 2 }, (_, i) => i))("moment %i: texts go on as they were", (_) =>
    seeded(async (random) => {
      const asked = [randomAsked(random, model), randomAsked(random, model)];
      const expected = [];
      for (const each of asked) expected.push(await undisturbed(model, each));
      const devices = fragile.devices();
      const running = asked.map(({ prompt, sampling, drafting }) =>
        model.generate(prompt, { ...sampling, ...drafting }),
      );
      const lost = losing(running[0]!, random, fragile.lose);
      const results = await Promise.all(running.map((generation) => generation.result()));
      await lost;
      for (const [i, { ids, tokens, finishReason }] of results.entries()) {
        expect(ids).toEqual(expected[i]!.ids);
        expect(tokens.map(({ logProb }) => logProb)).toEqual(expected[i]!.logprobs);
        expect(finishReason).toBe("length");
      }
      await model.score([1]).catch(() => {}); // it may have been lost at the very end
      expect(fragile.devices()).toBe(devices + 1);
    })(),
  );

  test("streams go on too; the counts are those of the rounds alone; no buffer stays of what was lost", async () => {
    const options = { maxTokens: 60, ignoreEos: true, drafter: "none", reusePrompt: false } as const;
    fragile.lose();
    const before = await model.generate(PROMPT, options).result();
    model.clearKvCache();
    const { buffers } = model.memory();
    const generation = model.generate(PROMPT, options);
    const streamed: number[] = [];
    for await (const { ids } of generation) {
      streamed.push(...ids);
      if (streamed.length === 10 || streamed.length === 30) fragile.lose();
    }
    const { stats, text } = await generation.result();
    expect(streamed).toEqual(before.ids);
    expect(text).toBe(before.text);
    expect(stats.recoveries).toBe(2);
    // Of rounds that were under way when it was lost nothing was read.
    expect(stats.readbacks).toBe(before.stats.readbacks);
    expect(stats.prefillSubmits).toBe(before.stats.prefillSubmits);
    model.clearKvCache();
    expect(model.memory().buffers).toBe(buffers);
    const live = fragile.liveBuffers();
    expect(live.slice(0, -1).every((count) => count === 0)).toBe(true);
    expect(live.at(-1)).toBeGreaterThanOrEqual(buffers);
  });

  test("what was emitted counts for penalties, and is looked up", async () => {
    const options = { maxTokens: 80, ignoreEos: true, frequencyPenalty: 0.9, presencePenalty: 0.4 } as const;
    const plain = await model.generate(PROMPT, options).result();
    expect((await lostAfter(model.generate(PROMPT, options), 40, fragile.lose)).ids).toEqual(plain.ids);
    // What followed its last token here is what a lookup drafts.
    const prompt = [...model.tokenize(PROMPT), ...plain.ids];
    const looked = { maxTokens: 60, ignoreEos: true, drafter: "lookup", treeSize: 5, controller: "fixed" } as const;
    const expected = await model.generate(prompt, looked).result();
    const { ids, rounds } = await lostAfter(model.generate(prompt, looked), 20, fragile.lose);
    expect(ids).toEqual(expected.ids);
    const drafts = (each: readonly Round[]) => each.map(({ drafted, accepted }) => [drafted, accepted]);
    expect(drafts(rounds)).toEqual(drafts(expected.rounds));
    expect(expected.stats.accepted).toBeGreaterThan(5);
  });

  test("a device that is lost while the next one is made, and adapters that take their time", async () => {
    const options = { maxTokens: 40, ignoreEos: true } as const;
    const { ids } = await model.generate(PROMPT, options).result();
    const generation = model.generate(PROMPT, options);
    const devices = fragile.devices();
    for await (const part of generation) {
      if (part.round || fragile.devices() > devices) continue;
      fragile.withholdAdapters(2);
      fragile.onDevice(() => void sleep(200).then(fragile.lose));
      fragile.lose();
    }
    expect((await generation.result()).ids).toEqual(ids);
    expect(fragile.devices()).toBe(devices + 2);
  });

  test("what was lost while nothing ran is there when it is asked for, with what drafts", async () => {
    const options = { maxTokens: 30, ignoreEos: true } as const;
    const { ids } = await model.generate(PROMPT, options).result();
    const draftModel = await model.loadDraftModel(STORIES);
    await model.loadExitAdapter(adapterFile(await nextLayerAdapter(STORIES, 2)));
    const scored = await model.score(ids);
    const devices = fragile.devices();
    fragile.lose();
    await sleep(100);
    expect(fragile.devices()).toBe(devices);
    expect(await model.score(ids)).toEqual(scored);
    expect(fragile.devices()).toBe(devices + 1);
    for (const drafter of [draftModel, "adapter"] as const) {
      const result = await model
        .generate(PROMPT, { ...options, drafter, draftLength: 3, controller: "fixed" })
        .result();
      expect(result.ids).toEqual(ids);
      expect(result.stats.accepted).toBeGreaterThan(0);
    }
    model.removeExitAdapter();
  });

  test("a conversation goes on as if its turns were in the cache", async () => {
    const settings = { maxTokens: 24, ignoreEos: true } as const;
    const turns: number[][] = [];
    for (const loses of [false, true]) {
      const ids = [...model.tokenize(PROMPT)];
      const generated: [number, number][] = [];
      for (let turn = 0; turn < 2; turn++) {
        if (loses && turn === 1) fragile.lose();
        const result = await model.generate({ ids: [...ids], generated: [...generated] }, settings).result();
        generated.push([ids.length, ids.length + result.ids.length]);
        ids.push(...result.ids, ...model.tokenize("Then"));
      }
      turns.push(ids);
    }
    expect(turns[1]).toEqual(turns[0]);
  });

  test("an abort ends the wait, and the next generation has its device", async () => {
    const { ids } = await model.generate(PROMPT, { maxTokens: 8 }).result();
    const abort = new AbortController();
    const generation = model.generate(PROMPT, { maxTokens: 50, ignoreEos: true, signal: abort.signal });
    for await (const part of generation) {
      if (part.round) continue;
      fragile.onDevice(() => abort.abort());
      fragile.lose();
    }
    expect((await generation.result()).finishReason).toBe("abort");
    expect((await model.generate(PROMPT, { maxTokens: 8 }).result()).ids).toEqual(ids);
  });

  test("when all who wait have left, nobody goes on loading; a time limit holds while it waits", async () => {
    const abort = new AbortController();
    const devices = fragile.devices();
    fragile.lose();
    await sleep(50);
    fragile.withholdAdapters(Number.POSITIVE_INFINITY);
    const generation = model.generate(PROMPT, { maxTokens: 50, signal: abort.signal });
    const result = generation.result();
    await sleep(50);
    abort.abort();
    expect((await result).finishReason).toBe("abort");
    fragile.withholdAdapters(0);
    await sleep(700);
    expect(fragile.devices()).toBe(devices);

    const limited = model.generate(PROMPT, { maxTokens: 400, ignoreEos: true, drafter: "none", timeLimitMs: 600 });
    const begun = performance.now();
    for await (const part of limited) {
      if (part.round) continue;
      fragile.withholdAdapters(Number.POSITIVE_INFINITY);
      fragile.lose();
    }
    expect((await limited.result()).finishReason).toBe("time");
    expect(performance.now() - begun).toBeLessThan(10_000);
    fragile.withholdAdapters(0);
  });

  test("what drafted and cannot be had again is dropped with a warning; what was removed meanwhile stays away", async () => {
    const options = { maxTokens: 30, ignoreEos: true } as const;
    const { ids } = await model.generate(PROMPT, options).result();
    const { folder } = randomModelFolder(new Random(7), { vocabSize: 512 });
    let isThere = true;
    const draftModel = await model.loadDraftModel({
      ...folder,
      open: async (path, signal) => (isThere ? folder.open(path, signal) : undefined),
    });
    await model.loadExitAdapter(adapterFile(await nextLayerAdapter(STORIES, 2)));
    const warnings = model.warnings.length;
    isThere = false;
    fragile.lose();
    await sleep(50);
    const abort = new AbortController();
    // While the next engine is made, a model can be told to do without its adapter.
    const waits = model.generate(PROMPT, { ...options, signal: abort.signal }).result();
    const other = model.score([1, 2]).catch((error: unknown) => error);
    expect(await other).toBeInstanceOf(BusyError);
    await waits;
    expect(model.warnings.slice(warnings).join()).toMatch(/draft model .* could not be loaded again/);
    expect(model.exitAdapter?.exitLayer).toBe(2);
    expect(() => model.generate(PROMPT, { drafter: draftModel })).toThrow(InputError);
    expect((await model.generate(PROMPT, options).result()).ids).toEqual(ids);

    fragile.lose();
    await sleep(50);
    const begun = new AbortController();
    fragile.onDevice(() => begun.abort());
    await model.generate(PROMPT, { ...options, signal: begun.signal }).result();
    model.removeExitAdapter();
    expect((await model.generate(PROMPT, options).result()).ids).toEqual(ids);
    expect(model.exitAdapter).toBeUndefined();
  });

  test("a text that gets no further for all devices is given up", async () => {
    const devices = fragile.devices();
    const generation = model.generate(PROMPT, { maxTokens: 50, ignoreEos: true });
    let losing = true;
    const lose = () => {
      if (!losing) return;
      fragile.onDevice(lose);
      fragile.lose();
    };
    const outcome = (async () => {
      for await (const part of generation) if (!part.round) lose();
    })();
    await expect(outcome).rejects.toBeInstanceOf(DeviceLostError);
    losing = false;
    expect(fragile.devices() - devices).toBeLessThan(20);
    expect((await model.generate(PROMPT, { maxTokens: 3 }).result()).ids).toHaveLength(3);
  });
});

test("where no adapter comes back, what waits is told; a model that is disposed of meanwhile says so", async () => {
  const fragile = await fragileGpu();
  const model = await load(STORIES, { gpu: fragile.gpu, recover: true });
  fragile.withholdAdapters(Number.POSITIVE_INFINITY);
  fragile.lose();
  await sleep(100);
  // It is asked for again for 13 seconds; in the fast run e2e/page.spec.ts waits for that.
  if (SLOW) await expect(model.score([1, 2])).rejects.toBeInstanceOf(GpuUnavailableError);
  const waiting = model.generate(PROMPT).result();
  await sleep(50);
  await model.dispose();
  await expect(waiting).rejects.toBeInstanceOf(DisposedError);
  expect(model.memory().buffers).toBe(0);
  expect(fragile.devices()).toBe(1);
}, 40_000);

test("files that are others now are not taken for the model's", async () => {
  const fragile = await fragileGpu();
  const read = (name: string) => Uint8Array.from(readFileSync(`${STORIES}${name}`));
  const weights = read("model.safetensors");
  const files = {
    "config.json": read("config.json"),
    "tokenizer.json": read("tokenizer.json"),
    "model.safetensors": weights,
  };
  await using model = await load(memoryFolder("trained on", files), { gpu: fragile.gpu, recover: true });
  for (let i = weights.length - 200_000; i < weights.length; i++) weights[i]! ^= 1;
  fragile.lose();
  const failure = await model
    .generate(PROMPT)
    .result()
    .catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(SourceError);
  expect(String(failure)).toMatch(/model\.safetensors.*has changed since the model was loaded/);
  await model.ended; // who shares it does not give it to others
});

test.each(Array.from({ length: SLOW ? 20 : 1 }, (_, i) => i))(
  "without recover, moment %i: what runs and what is asked later is told that the device is lost",
  (_) =>
    seeded(async (random) => {
      const fragile = await fragileGpu();
      const model = await load(STORIES, { gpu: fragile.gpu });
      const asked = randomAsked(random, model);
      const expected = await undisturbed(model, asked);
      const { prompt, sampling, drafting } = asked;
      const running = model.generate(prompt, { ...sampling, ...drafting, reusePrompt: false });
      const outcome = running.result().catch((error: unknown) => error);
      await losing(running, random, fragile.lose);
      const ended = await outcome;
      if (ended instanceof Error) expect(ended).toBeInstanceOf(DeviceLostError);
      else expect(ended).toMatchObject({ ids: expected.ids });
      await expect(model.generate(PROMPT).result()).rejects.toBeInstanceOf(DeviceLostError);
      await expect(model.score([1, 2])).rejects.toBeInstanceOf(DeviceLostError);
      await model.dispose();
      expect(model.memory().buffers).toBe(0);
    })(),
);
