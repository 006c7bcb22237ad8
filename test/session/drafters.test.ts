/** Drafters on the public surface: what they keep, what they refuse, a second model. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type DrafterName,
  type DraftModel,
  FileFormatError,
  type GenerateOptions,
  InputError,
  load,
  type Model,
  SourceError,
} from "../../src/index.ts";
import { familyFolder } from "../families.ts";
import { memoryFolder, STORIES } from "../memory_folder.ts";

const PROMPT = "Once upon a time";

let model: Model;
beforeAll(async () => {
  model = await load(STORIES);
});
afterAll(() => model.dispose());

async function rounds(options: GenerateOptions): Promise<number> {
  const plain = await model.generate(PROMPT, { maxTokens: 60, drafter: "none" }).result();
  const drafted = await model.generate(PROMPT, { maxTokens: 60, ...options }).result();
  expect(drafted.ids).toEqual(plain.ids);
  return drafted.rounds.length;
}

describe("what drafting has learned", () => {
  test("is kept from text to text, saved and loaded; 32 bytes an id", async () => {
    const nothing = await model.saveDraftMemory();
    expect(nothing.byteLength).toBe(16 + 32 * model.spec.vocabSize);
    const first = await rounds({ drafter: "recycle" });
    const learned = await model.saveDraftMemory();
    const second = await rounds({ drafter: "recycle" });
    expect(second).toBeLessThan(first);

    await model.loadDraftMemory(nothing);
    expect(await model.saveDraftMemory()).toEqual(nothing);
    expect(await rounds({ drafter: "recycle" })).toBe(first);

    await using other = await load(STORIES);
    await other.loadDraftMemory(learned);
    expect(await other.saveDraftMemory()).toEqual(learned);
    const drafted = await other.generate(PROMPT, { maxTokens: 60, drafter: "recycle" }).result();
    expect(drafted.rounds.length).toBe(second);
  });

  test("what is damaged or another vocabulary's is refused and changes nothing", async () => {
    const whole = await model.saveDraftMemory();
    const changed = (at: number, value: number) => {
      const bytes = whole.slice();
      bytes[at] = value;
      return bytes;
    };
    for (const bytes of [
      new Uint8Array(0),
      whole.slice(0, 3),
      whole.slice(0, -1),
      changed(0, 0),
      changed(4, 9),
      changed(12, 7),
    ]) {
      await expect(model.loadDraftMemory(bytes)).rejects.toThrow(FileFormatError);
    }
    await expect(model.loadDraftMemory(changed(8, 1))).rejects.toThrow(InputError);
    expect(await model.saveDraftMemory()).toEqual(whole);
  });

  test("any ids in it change only the speed", async () => {
    const bytes = await model.saveDraftMemory();
    for (let i = 16; i < bytes.length; i++) bytes[i] = (i * 193) % 251;
    await model.loadDraftMemory(bytes);
    expect(await rounds({ drafter: "recycle", treeSize: 31 })).toBeGreaterThan(0);
  });
});

describe("a second model", () => {
  let draftModel: DraftModel;
  beforeAll(async () => {
    draftModel = await model.loadDraftModel(STORIES);
  });

  test("that is the model itself is always right", async () => {
    expect(draftModel).toMatchObject({ name: expect.stringContaining("stories260k"), parameters: model.parameters });
    // 59 tokens after the prompt's own, five a round.
    expect(await rounds({ drafter: draftModel, draftLength: 4 })).toBe(12);
  });

  test.each([0, 1])("at temperature %d, alone and where the governor changes drafters", async (temperature) => {
    const sampling = { temperature, ...(temperature > 0 && { seed: 5 }), maxTokens: 60 };
    const plain = await model.generate(PROMPT, { ...sampling, drafter: "none" }).result();
    const alone = await model.generate(PROMPT, { ...sampling, drafter: draftModel }).result();
    expect(alone.ids).toEqual(plain.ids);
    expect(alone.stats.acceptanceRate).toBe(1);
    const governed = await model
      .generate(PROMPT, { ...sampling, drafter: draftModel, controller: "governor" })
      .result();
    expect(governed.ids).toEqual(plain.ids);
    // It has caught up with what was decoded without it: it is as right as ever.
    expect(governed.stats.accepted).toBe(governed.stats.drafted);
  });

  test("of another tokenizer, or that is not there, is refused and leaves no buffer", async () => {
    const { buffers, bytes } = model.memory();
    const file = (name: string) => new Uint8Array(readFileSync(join(STORIES, name)));
    const tokenizer = JSON.parse(new TextDecoder().decode(file("tokenizer.json")));
    const [a, b] = Object.keys(tokenizer.model.vocab).slice(-2) as [string, string];
    const { vocab } = tokenizer.model;
    [vocab[a], vocab[b]] = [vocab[b], vocab[a]];
    const swapped = memoryFolder("swapped", {
      "config.json": file("config.json"),
      "model.safetensors": file("model.safetensors"),
      "tokenizer.json": new TextEncoder().encode(JSON.stringify(tokenizer)),
      "tokenizer_config.json": file("tokenizer_config.json"),
    });
    await expect(model.loadDraftModel(swapped)).rejects.toThrow(InputError);
    await expect(model.loadDraftModel("/nowhere")).rejects.toThrow(SourceError);
    const cut = memoryFolder("cut", {
      "config.json": file("config.json"),
      "model.safetensors": file("model.safetensors").slice(0, -1000),
      "tokenizer.json": file("tokenizer.json"),
      "tokenizer_config.json": file("tokenizer_config.json"),
    });
    await expect(model.loadDraftModel(cut)).rejects.toThrow(FileFormatError);
    expect(model.memory()).toMatchObject({ buffers, bytes });
  });

  test("of another model is refused", async () => {
    await using other = await load(familyFolder("llama"));
    expect(() => other.generate([5, 6], { drafter: draftModel })).toThrow(InputError);
  });
});

test.each<[string, GenerateOptions, string]>([
  ["a tree with auto", { drafter: "auto", treeSize: 7 }, "treeSize"],
  ["a tree of 64", { drafter: "lookup", treeSize: 64 }, "treeSize"],
  ["a tree of none", { drafter: "recycle", treeSize: 0 }, "treeSize"],
  ["more rows than there are", { drafter: "ouroboros", draftLength: 8, treeSize: 56 }, "treeSize"],
  ["an exit layer of lookup", { drafter: "lookup", exitLayer: 2 }, "exitLayer"],
  ["a draft length of recycle", { drafter: "recycle", draftLength: 2 }, "draftLength"],
  ["hot ids of lookup", { drafter: "lookup", hotVocabulary: 20 }, "hotVocabulary"],
  ["the ratio rule with lookup", { drafter: "lookup", acceptRule: "ratio" }, "acceptRule"],
  ["the ratio rule with a tree", { treeSize: 4, acceptRule: "ratio" }, "acceptRule"],
  ["heuristic with recycle", { drafter: "recycle", controller: "heuristic" }, "controller"],
  ["a drafter that there is not", { drafter: "oracle" as DrafterName }, "drafter"],
])("%s is refused", (_, options, field) => {
  const refused = () => model.generate("Once", options);
  expect(refused).toThrow(InputError);
  expect(refused).toThrow(`generate: ${field}: found `);
});

test("a sampled text first, then a greedy one: both learn from the logits that there are", async () => {
  await using fresh = await load(STORIES);
  for (const temperature of [1, 0]) {
    const sampling = { temperature, ...(temperature > 0 && { seed: 3 }), maxTokens: 40 };
    const drafted = await fresh.generate(PROMPT, { ...sampling, drafter: "ouroboros" }).result();
    const plain = await fresh.generate(PROMPT, { ...sampling, drafter: "none" }).result();
    expect(drafted.ids).toEqual(plain.ids);
  }
});

test("leaving a loop does not wait for a drafter that never answers", async () => {
  let asked = 0;
  const propose = () => (++asked < 3 ? [1] : new Promise<never>(() => {}));
  {
    await using generation = model.generate(PROMPT, { drafter: { name: "silent", propose } });
    const parts = generation[Symbol.asyncIterator]();
    while (asked < 3) {
      const next = parts.next();
      await Promise.race([next, new Promise((resolve) => setTimeout(resolve, 200))]);
    }
  }
  await model.generate(PROMPT, { maxTokens: 3 }).result();
});

test("a drafter's own time is its rounds'", async () => {
  const propose = async () => {
    await new Promise((resolve) => setTimeout(resolve, 30));
    return [];
  };
  const { rounds } = await model.generate(PROMPT, { drafter: { name: "slow", propose }, maxTokens: 6 }).result();
  for (const { startMs, endMs } of rounds) expect(endMs - startMs).toBeGreaterThan(28);
});

test("auto on a stock model: the governor, and plain decoding's ids", async () => {
  await using stock = await load(familyFolder("llama"));
  const options = { maxTokens: 60, ignoreEos: true };
  const plain = await stock.generate(PROMPT, { ...options, drafter: "none" }).result();
  const governed = await stock.generate(PROMPT, { ...options, drafter: "auto" }).result();
  expect(governed.ids).toEqual(plain.ids);
  const compared = governed.rounds.at(-1)!.decision!.prices.map(({ drafter, treeSize }) => `${drafter} ${treeSize}`);
  expect(compared).toEqual(expect.arrayContaining(["lookup 7", "recycle 15"]));
});
