/**
 * Exit adapters on the default model and the families. An adapter whose block is the model's own next layer guesses as an exit one
 * layer later does, and a map that changes nothing as the exit itself: what both are accepted is known from the golden rounds.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type ExitAdapterSource,
  FileFormatError,
  type GenerateOptions,
  InputError,
  load,
  type Model,
  SourceError,
  UnsupportedModelError,
} from "../../src/index.ts";
import { type AdapterParts, adapterFile, floats, identityAdapter, int32, nextLayerAdapter } from "../exit_adapters.ts";
import { FAMILIES, familyFolder } from "../families.ts";
import { goldenCases } from "../golden.ts";
import { memoryFolder, STORIES } from "../memory_folder.ts";
import { SLOW } from "../slow.ts";

const cases = goldenCases();
const PROMPT = "Once upon a time";

let model: Model;
beforeAll(async () => {
  model = await load(STORIES);
});
afterAll(() => model.dispose());

const accepted = (rounds: readonly { accepted: number }[]) => rounds.map((round) => round.accepted);

describe.each([
  ["the model's next layer", nextLayerAdapter, 1],
  ["a map that changes nothing", identityAdapter, 0],
] as const)("%s", (_, adapterOf, later) => {
  test.each([1, 2, 3])("after layer %i: golden ids and accepted drafts", async (exitLayer) => {
    await model.loadExitAdapter(adapterFile(await adapterOf(STORIES, exitLayer)));
    for (const { prompt, greedy, rounds } of SLOW ? cases : cases.slice(0, 3)) {
      for (const draftLength of SLOW ? [1, 2, 3, 4, 5, 6] : [3]) {
        const options = { drafter: "adapter", draftLength, maxTokens: greedy.length } as const;
        const result = await model.generate(prompt, options).result();
        expect(result.ids).toEqual(greedy);
        const golden = rounds[exitLayer + later]?.[draftLength];
        if (golden) expect(accepted(result.rounds).slice(0, golden.length)).toEqual(golden);
        expect(result.rounds.every(({ drafter }) => drafter === "adapter" || drafter === "none")).toBe(true);
        // The adapter is in the round's one submission, and what is read is what is read without it.
        expect(result.stats.submits - result.rounds.length).toBeOneOf([0, 1]);
        expect(result.stats.readbacks).toBe(result.stats.submits);
      }
    }
  });
});

describe("with the next layer of each family as its block", () => {
  // Of the fast run: norms after blocks, fused projections with the adapter's own names, biases, a window.
  const families = SLOW ? FAMILIES : ["gemma3"];
  test.each(families)("%s: plain decoding's ids, and the drafts of an exit one layer later", async (family) => {
    const folder = familyFolder(family);
    await using stock = await load(folder);
    const exitLayer = 1;
    await stock.loadExitAdapter(adapterFile(await nextLayerAdapter(folder, exitLayer)));
    for (const sampling of [{}, { temperature: 0.7, topK: 40, repetitionPenalty: 1.2, seed: 3 }]) {
      const options: GenerateOptions = { ...sampling, maxTokens: 40, ignoreEos: true };
      const plain = await stock.generate([5, 9, 14], { ...options, drafter: "none" }).result();
      const drafted = await stock.generate([5, 9, 14], { ...options, drafter: "adapter", draftLength: 3 }).result();
      expect(drafted.ids).toEqual(plain.ids);
      const later = { ...options, drafter: "layerskip", exitLayer: exitLayer + 1, draftLength: 3 } as const;
      // The last layer of a model of two is no exit.
      if (exitLayer + 1 >= stock.spec.layers) expect(drafted.stats.acceptanceRate).toBe(1);
      else
        expect(accepted(drafted.rounds)).toEqual(accepted((await stock.generate([5, 9, 14], later).result()).rounds));
    }
  });
});

describe("how it drafts", () => {
  let parts: AdapterParts;
  beforeAll(async () => {
    parts = await nextLayerAdapter(STORIES, 1);
    await model.loadExitAdapter(adapterFile(parts));
  });

  test("is told, and is what auto weighs", async () => {
    expect(model.exitAdapter).toMatchObject({ kind: "block", exitLayer: 1, hotIds: undefined, baseModel: "a test's" });
    const { rounds } = await model.generate(PROMPT, { maxTokens: 40, drafter: "auto" }).result();
    const compared = rounds.at(-1)!.decision!.prices.map(({ drafter, draftLength }) => `${drafter} ${draftLength}`);
    expect(compared).toEqual(expect.arrayContaining(["adapter 1", "adapter 3", "adapter 7"]));
  });

  test.each<[string, GenerateOptions]>([
    ["a tree", { treeSize: 5 }],
    ["hot ids of the text", { hotVocabulary: 200 }],
    ["heuristic", { controller: "heuristic" }],
    ["confidence", { controller: "confidence" }],
    ["del", { controller: "del" }],
    ["thompson", { controller: "thompson" }],
    ["the governor", { controller: "governor" }],
    ["auto", { drafter: "auto" }],
  ])("%s: plain decoding's ids, greedy and sampled", async (_, drafting) => {
    for (const sampling of [
      {},
      { temperature: 1, seed: 4 },
      { temperature: 0.8, minP: 0.05, frequencyPenalty: 0.5, seed: 9 },
    ]) {
      const options = { ...sampling, maxTokens: 80 };
      const plain = await model.generate(PROMPT, { ...options, drafter: "none" }).result();
      const drafted = await model.generate(PROMPT, { ...options, drafter: "adapter", ...drafting }).result();
      expect(drafted.ids).toEqual(plain.ids);
      // What goes by time may decode plainly on any machine: that it weighs the adapter is seen in its prices.
      const byTime = drafting.controller === "del" || drafting.controller === "governor" || drafting.drafter === "auto";
      if (!byTime) expect(drafted.stats.accepted).toBeGreaterThan(0);
      else if (drafting.controller !== "del") {
        expect(drafted.stats.prices!.some(({ drafter }) => drafter === "adapter")).toBe(true);
      }
    }
  });

  test("a tree of second choices is accepted at least as often", async () => {
    const count = async (options: GenerateOptions) =>
      (await model.generate(PROMPT, { maxTokens: 100, drafter: "adapter", draftLength: 3, ...options }).result()).rounds
        .length;
    expect(await count({ treeSize: 4 })).toBeLessThan(await count({}));
  });

  test("ids of its own: it drafts none but them", async () => {
    const ids = Array.from({ length: 100 }, (_, i) => 3 * i + 2);
    await model.loadExitAdapter(adapterFile({ ...parts, tensors: { ...parts.tensors, hot_ids: int32(...ids) } }));
    expect(model.exitAdapter!.hotIds).toBe(100);
    const plain = await model.generate(PROMPT, { maxTokens: 60, drafter: "none" }).result();
    for (const options of [{}, { treeSize: 4 }, { draftProbabilities: true }] as GenerateOptions[]) {
      const generation = model.generate(PROMPT, { maxTokens: 60, drafter: "adapter", ...options });
      const told: number[] = [];
      for await (const { draftIds } of generation) told.push(...draftIds);
      expect((await generation.result()).ids).toEqual(plain.ids);
      expect(told.length).toBeGreaterThan(10);
      expect(told.filter((id) => !ids.includes(id))).toEqual([]);
    }
    expect(() => model.generate(PROMPT, { drafter: "adapter", hotVocabulary: 20 })).toThrow("hotVocabulary");
  });

  test("numbers that are none cost only speed", async () => {
    const { hiddenSize } = model.spec;
    const nothing = floats(new Float32Array(hiddenSize).fill(NaN), hiddenSize);
    const plain = await model.generate(PROMPT, { maxTokens: 60, drafter: "none" }).result();
    for (const name of ["post.bias", "block.input_layernorm.weight"]) {
      await model.loadExitAdapter(adapterFile({ ...parts, tensors: { ...parts.tensors, [name]: nothing } }));
      for (const options of [
        {},
        { treeSize: 4 },
        { temperature: 1, seed: 2 },
        { drafter: "auto" },
      ] as GenerateOptions[]) {
        const drafted = await model.generate(PROMPT, { maxTokens: 60, drafter: "adapter", ...options }).result();
        const same = options.temperature
          ? await model.generate(PROMPT, { ...options, maxTokens: 60, drafter: "none" }).result()
          : plain;
        expect(drafted.ids).toEqual(same.ids);
      }
    }
  });

  test("is freed, replaced and leaves nothing", async () => {
    await model.generate(PROMPT, { maxTokens: 8, drafter: "adapter", temperature: 1, seed: 1 }).result();
    model.removeExitAdapter();
    expect(model.exitAdapter).toBeUndefined();
    expect(model.memory().byOwner["exit adapter"]).toBeUndefined();
    expect(() => model.generate(PROMPT, { drafter: "adapter" })).toThrow(InputError);
    expect(model.defaults.drafter).toBe("auto"); // the checkpoint's own
    const held: number[] = [];
    for (let i = 0; i < 3; i++) {
      await model.loadExitAdapter(adapterFile(parts));
      await model.generate(PROMPT, { maxTokens: 8, drafter: "adapter", hotVocabulary: 100 }).result();
      await model.loadExitAdapter(adapterFile(await identityAdapter(STORIES, 2)));
      await model.generate(PROMPT, { maxTokens: 8, drafter: "adapter", hotVocabulary: 100 }).result();
      model.removeExitAdapter();
      held.push(model.memory().buffers);
    }
    expect(held).toEqual([held[0], held[0], held[0]]);
  });
});

describe("a file that is not for this model", () => {
  let parts: AdapterParts;
  beforeAll(async () => {
    parts = await nextLayerAdapter(STORIES, 1);
  });
  const withMetadata = (changed: Record<string, string | undefined>) => {
    const metadata = Object.entries({ ...parts.metadata, ...changed }).filter(([, value]) => value !== undefined);
    return adapterFile({ ...parts, metadata: Object.fromEntries(metadata) as Record<string, string> });
  };
  const withTensor = (name: string, tensor: AdapterParts["tensors"][string] | undefined) => {
    const tensors = Object.entries({ ...parts.tensors, [name]: tensor }).filter(([, value]) => value !== undefined);
    return adapterFile({ ...parts, tensors: Object.fromEntries(tensors) as AdapterParts["tensors"] });
  };

  test.each<[string, () => ExitAdapterSource, new (...args: never[]) => Error, string]>([
    ["another family", () => withMetadata({ base_model_type: "qwen2" }), InputError, "base_model_type"],
    ["more layers", () => withMetadata({ num_hidden_layers: "30" }), InputError, "num_hidden_layers"],
    ["another width", () => withMetadata({ hidden_size: "576" }), InputError, "hidden_size"],
    ["another vocabulary", () => withMetadata({ vocab_size: "49152" }), InputError, "vocab_size"],
    ["another training", () => withMetadata({ base_fingerprint: "00" }), InputError, "base_fingerprint"],
    ["a layer that there is not", () => withMetadata({ exit_layer: "5" }), FileFormatError, "exit_layer"],
    ["no layer", () => withMetadata({ exit_layer: undefined }), FileFormatError, "exit_layer"],
    ["another format", () => withMetadata({ format: "pt" }), FileFormatError, "format"],
    ["a later version", () => withMetadata({ version: "2" }), UnsupportedModelError, "version"],
    ["another kind", () => withMetadata({ kind: "medusa" }), UnsupportedModelError, "kind"],
    ["a map that is missing", () => withTensor("post.weight", undefined), FileFormatError, "post.weight"],
    [
      "a map of another width",
      () => withTensor("post.bias", floats(new Float32Array(8), 8)),
      FileFormatError,
      "post.bias",
    ],
    [
      "integers for weights",
      () => withTensor("post.bias", int32(...Array(64).keys())),
      UnsupportedModelError,
      "post.bias",
    ],
    ["ids beyond the vocabulary", () => withTensor("hot_ids", int32(1, 512)), FileFormatError, "hot_ids"],
    ["ids that do not ascend", () => withTensor("hot_ids", int32(4, 4)), FileFormatError, "hot_ids"],
    ["no ids", () => withTensor("hot_ids", int32()), FileFormatError, "hot_ids"],
    ["a truncated file", () => adapterFile(parts).slice(0, -100), FileFormatError, "data_offsets"],
    ["nothing", () => new Uint8Array(0), FileFormatError, "header length"],
    ["no adapter", () => memoryFolder("empty", {}), SourceError, "exit-adapter.safetensors"],
    ["a file that is not there", () => "/nowhere/exit-adapter.safetensors", SourceError, "nowhere"],
  ])("%s is refused, and changes nothing", async (_, file, error, field) => {
    await model.loadExitAdapter(adapterFile(parts));
    const { buffers, bytes } = model.memory();
    const refused = model.loadExitAdapter(file());
    await expect(refused).rejects.toThrow(error);
    await expect(refused).rejects.toThrow(field);
    expect(model.exitAdapter).toMatchObject({ exitLayer: 1 });
    expect(model.memory()).toMatchObject({ buffers, bytes });
  });
});

test("beside a model it is loaded with it, and not if it is not wanted", async () => {
  const { readFileSync } = await import("node:fs");
  const names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
  const files = Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(`${STORIES}${name}`))]));
  const adapter = adapterFile(await nextLayerAdapter(STORIES, 2));
  const folder = memoryFolder("with adapter", { ...files, "exit-adapter.safetensors": adapter });
  const listed = { ...folder, list: async () => [...names, "exit-adapter.safetensors"] };
  await using found = await load(listed);
  expect(found.exitAdapter).toMatchObject({ exitLayer: 2 });
  await using without = await load(listed, { exitAdapter: false });
  expect(without.exitAdapter).toBeUndefined();
  await using given = await load(familyFolder("llama"), {
    exitAdapter: adapterFile(await identityAdapter(familyFolder("llama"), 1)),
  });
  expect(given.exitAdapter).toMatchObject({ kind: "linear" });
  expect(given.defaults.drafter).toBe("auto");
  await expect(load(familyFolder("llama"), { exitAdapter: adapter })).rejects.toThrow(InputError);
});
