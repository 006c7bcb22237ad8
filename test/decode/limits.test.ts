/** Where generations end: the context, maxTokens, EOS, an abort. */

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ContextLengthError, InputError, load, type Model } from "../../src/index.ts";
import { memoryFolder, randomModelFolder, STORIES } from "../memory_folder.ts";
import { ReferenceModel } from "../reference/model.ts";
import { seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";

const PROMPT = [1, 403, 407, 261, 378];

let model: Model;
beforeAll(async () => {
  model = await load(STORIES);
});
afterAll(() => model.dispose());

describe("a context that runs to the model's limit of 512", () => {
  const reference = ReferenceModel.load(STORIES).greedy(PROMPT, { maxTokens: 1000, eosIds: [], contextLength: 512 });

  test("plain decoding fills it and equals the reference to the last token", async () => {
    const result = await model.generate(PROMPT, { drafter: "none", ignoreEos: true }).result();
    expect(PROMPT.length + result.ids.length).toBe(512);
    expect(result.ids).toEqual(reference);
    expect(result.finishReason).toBe("length");
  });

  test.each([
    ...(SLOW ? [1, 2, 3, 4, 5, 6, 7, 8, 15, 31] : [4, 31]).map((draftLength) => [4, draftLength] as const),
    ...[1, 2, 3].map((exitLayer) => [exitLayer, 5] as const),
  ])("exit layer %i, draft length %i gives the same ids", async (exitLayer, draftLength) => {
    const options = { drafter: "layerskip", exitLayer, draftLength, ignoreEos: true } as const;
    const result = await model.generate(PROMPT, options).result();
    expect(result.ids).toEqual(reference);
    expect(result.finishReason).toBe("length");
  });

  test("a smaller context asked for at load ends there", async () => {
    await using small = await load(STORIES, { contextLength: 20 });
    const result = await small.generate(PROMPT, { draftLength: 8, ignoreEos: true }).result();
    expect(result.ids).toEqual(reference.slice(0, 15));
    expect(result.finishReason).toBe("length");
  });

  test("a prompt that leaves room for one token gets one; one that leaves none is refused", async () => {
    const prompt = [...PROMPT, ...reference].slice(0, 511);
    const result = await model.generate(prompt, { ignoreEos: true }).result();
    expect(result.ids).toEqual([reference.at(-1)]);
    expect(result.finishReason).toBe("length");
    expect(() => model.generate([...PROMPT, ...reference])).toThrow(ContextLengthError);
  });
});

describe("maxTokens", () => {
  test.each([1, 2, 3, 5, 8, 13])("%i: exactly so many tokens, for every draft length", async (maxTokens) => {
    const plain = await model.generate(PROMPT, { drafter: "none", maxTokens }).result();
    expect(plain.ids.length).toBe(maxTokens);
    for (const draftLength of [1, 4, 9, 31]) {
      const result = await model.generate(PROMPT, { draftLength, maxTokens }).result();
      expect(result.ids).toEqual(plain.ids);
      expect(result.finishReason).toBe("length");
      let wanted = maxTokens - 1; // the prefill emitted one
      for (const { drafted, accepted } of result.rounds) {
        expect(drafted).toBe(Math.min(draftLength, wanted - 1));
        wanted -= accepted + 1;
      }
      expect(wanted).toBe(0);
    }
  });
});

describe("any drafting gives plain decoding's ids, on models of random shape and weights", () => {
  test.each(Array.from({ length: SLOW ? 24 : 2 }, (_, i) => i))(
    "model %i",
    seeded(async (random) => {
      const eosTokenIds = random.uniform() < 0.5 ? [2] : [];
      const { folder, reference } = randomModelFolder(random, { eosTokenIds });
      const { layers, vocabSize } = reference.config;
      await using random_model = await load(folder, { contextLength: random.int(40, 90) });
      for (let i = 0; i < 3; i++) {
        const prompt = random.ints(random.int(1, 35), 0, vocabSize - 1);
        const maxTokens = random.int(1, 60);
        const plain = await random_model.generate(prompt, { drafter: "none", maxTokens }).result();
        for (let j = 0; j < 3; j++) {
          const options = { exitLayer: random.int(1, layers - 1), draftLength: random.int(1, 31), maxTokens };
          const drafted = await random_model.generate(prompt, { drafter: "layerskip", ...options }).result();
          expect(drafted.ids).toEqual(plain.ids);
          expect(drafted.finishReason).toBe(plain.finishReason);
        }
      }
    }),
  );
});

describe("an abort", () => {
  test("between rounds keeps what there is", async () => {
    const controller = new AbortController();
    const ids: number[] = [];
    const generation = model.generate(PROMPT, { draftLength: 2, signal: controller.signal });
    for await (const part of generation) {
      ids.push(...part.ids);
      if (ids.length > 10) controller.abort();
    }
    const result = await generation.result();
    expect(result.finishReason).toBe("abort");
    expect(result.ids).toEqual(ids);
    const plain = await model.generate(PROMPT, { drafter: "none", maxTokens: ids.length }).result();
    expect(ids).toEqual(plain.ids);
  });

  test("while nobody asks for the next part frees the model", async () => {
    const controller = new AbortController();
    const generation = model.generate(PROMPT, { draftLength: 2, signal: controller.signal });
    const parts = generation[Symbol.asyncIterator]();
    const { value } = await parts.next();
    controller.abort();
    const { ids, finishReason } = await generation.result();
    expect([ids, finishReason]).toEqual([value?.ids, "abort"]);
    expect((await model.generate(PROMPT, { maxTokens: 1 }).result()).ids).toEqual(ids);
  });

  test("in the middle of a round keeps that round, and ends there", async () => {
    const controller = new AbortController();
    const generation = model.generate(PROMPT, { draftLength: 4, signal: controller.signal });
    const parts = generation[Symbol.asyncIterator]();
    await parts.next();
    const round = parts.next();
    controller.abort();
    expect((await round).value?.round?.drafted).toBe(4);
    expect((await parts.next()).done).toBe(true);
    expect((await generation.result()).rounds.length).toBe(1);
  });

  test("before the start emits nothing", async () => {
    const result = await model.generate(PROMPT, { signal: AbortSignal.abort() }).result();
    expect(result).toMatchObject({ ids: [], text: "", finishReason: "abort", rounds: [] });
  });
});

describe("what cannot be generated from", () => {
  test("no tokens", () => {
    expect(() => model.generate([])).toThrow(InputError);
  });

  test("an empty text, for a tokenizer without BOS", async () => {
    const tokenizer = JSON.parse(readFileSync(`${STORIES}tokenizer.json`, "utf8")) as object;
    const bytes = (name: string) => Uint8Array.from(readFileSync(`${STORIES}${name}`));
    await using without = await load(
      memoryFolder("without-bos", {
        "config.json": bytes("config.json"),
        "model.safetensors": bytes("model.safetensors"),
        "tokenizer.json": new TextEncoder().encode(JSON.stringify({ ...tokenizer, post_processor: null })),
      }),
    );
    expect(without.tokenize("")).toEqual([]);
    expect(() => without.generate("")).toThrow(/prompt: found no tokens, expected at least one/);
  });

  test("neither text nor ids", () => {
    expect(() => model.generate(undefined as unknown as string)).toThrow(/prompt: found nothing, expected a text/);
  });

  test("an empty text is the tokenizer's BOS alone", async () => {
    const result = await model.generate("", { maxTokens: 3 }).result();
    expect(result.promptIds).toEqual([1]);
    expect(result.ids.length).toBe(3);
  });

  test.each([-1, 512, 1.5, Number.NaN])("the id %d, naming its place", (id) => {
    expect(() => model.generate([1, id])).toThrow(/prompt\[1\]: found .*, expected an integer from 0 to 511/);
  });

  test.each([
    ["maxTokens", { maxTokens: 0 }],
    ["exitLayer", { exitLayer: 0 }],
    ["exitLayer", { exitLayer: 5 }],
    ["draftLength", { draftLength: 0 }],
    ["draftLength", { draftLength: 32 }],
    ["drafter", { drafter: "medusa" as "none" }],
    ["exitLayer", { drafter: "none" as const, exitLayer: 99 }],
    ["draftLength", { drafter: "none" as const, draftLength: -3 }],
  ])("%s out of range, naming it", (field, options) => {
    expect(() => model.generate(PROMPT, options)).toThrow(new RegExp(`generate: ${field}: found`));
  });
});
