/**
 * A stock chat model from one GGUF file, its blocks kept as they are: text, ids and logits are those that Hugging Face's
 * implementation computed on the dequantised weights (../shared/assets/README.md). On a software adapter it makes a token or
 * two a second, so all but a few tokens of one case are for the slow run.
 */

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ChatMessage, type GenerateOptions, load, type Model } from "../../src/index.ts";
import { asset, hasAsset } from "../assets.ts";
import { maxAbsDiff } from "../reference/compare.ts";
import { SLOW } from "../slow.ts";

interface Case {
  name: string;
  messages?: ChatMessage[];
  text?: string;
  rendered: string;
  prompt: number[];
  top20_ids: number[];
  top20_logits: number[];
  greedy: number[];
  greedy_gap: number[];
}

/** What its exit block drafts, computed apart (../shared/assets/smollm2-135m-instruct/exit-block/README.md). */
interface BlockCase {
  name: string;
  prompt: number[];
  greedy: number[];
  /** Share of positions where it chooses what the whole model does. */
  agreement: number;
  /** Accepted drafts of each round, by draft length. */
  rounds: Record<string, number[]>;
}

const FILE = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";
const BLOCK = "smollm2-135m-instruct/exit-block/exit-adapter.safetensors";
const { cases } = goldenOf<Case>("golden.json");
const { cases: blockCases } = goldenOf<BlockCase>("exit-block/golden.json");

function goldenOf<T>(file: string): { cases: T[] } {
  const path = new URL(`../assets/smollm2-135m-instruct/${file}`, import.meta.url).pathname;
  return JSON.parse(readFileSync(path, "utf8")) as { cases: T[] };
}

/** Ids are compared as far as no two logits of the oracle are nearer than this: sums in another order may swap those. */
const NEAR_TIE = 0.01;

/** Python's tokenizer cuts two line ends before a digit apart in this one (test/text/gguf_tokenizer.test.ts). */
const OTHER_IDS = "raw-unicode";

describe.skipIf(!hasAsset(FILE))("SmolLM2-135M-Instruct.Q4_1.gguf (LAYERLEAP_ASSETS)", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(asset(FILE), { contextLength: 512 });
  });
  afterAll(() => model.dispose());

  test("is held as stored, and takes no more than its file", () => {
    expect(model.dtype).toBe("stored");
    expect(model.warnings).toEqual([]);
    expect(model.chats).toBe(true);
    // Norms in f32, and the padding of rows to whole steps.
    expect(model.memory().byOwner.weights).toBeLessThan(1.01 * model.weightBytes);
    const { seconds, phaseSeconds, hostPeakBytes = 0 } = model.loadStats;
    expect(Object.values(phaseSeconds).reduce((a, b) => a + b)).toBeCloseTo(seconds, 1);
    expect(hostPeakBytes).toBeGreaterThan(0);
  });

  test.each(cases)("$name: rendered text and prompt ids", ({ name, messages, text, rendered, prompt }) => {
    if (messages) expect(model.renderChat(messages)).toBe(rendered);
    const ids = messages ? model.chatIds(messages) : model.tokenize(text!);
    if (name !== OTHER_IDS) expect(ids).toEqual(prompt);
  });

  test("the first tokens of a chat, plain and drafted", async () => {
    const { messages, greedy } = cases[0]!;
    for (const options of [{ drafter: "none" }, { exitLayer: 10, draftLength: 2 }] as const) {
      const { ids } = await model.generate(messages!, { ...options, maxTokens: 4 }).result();
      expect(ids).toEqual(greedy.slice(0, 4));
    }
  });

  test.runIf(SLOW).each([
    ["greedy but for penalties", { repetitionPenalty: 1.3, frequencyPenalty: 0.2 }, { exitLayer: 26, draftLength: 3 }],
    ["temperature 0.8, top-p 0.9", { temperature: 0.8, topP: 0.9, seed: 1 }, { exitLayer: 22, hotVocabulary: 4096 }],
    [
      "temperature 1.2, top-k 50, min-p 0.05",
      { temperature: 1.2, topK: 50, minP: 0.05, seed: 2 },
      { controller: "confidence" },
    ],
  ] as const)("16 sampled tokens of a chat: %s: drafts change no id", async (_, sampling, drafting) => {
    const { messages } = cases[0]!;
    const options = { ...sampling, maxTokens: 16 };
    const plain = await model.generate(messages!, { ...options, drafter: "none" }).result();
    const drafted = await model.generate(messages!, { ...options, ...drafting }).result();
    expect(drafted.ids).toEqual(plain.ids);
    expect(drafted.stats.drafted).toBeGreaterThan(0);
  });

  describe.runIf(SLOW).each(cases)("$name, in full", ({ prompt, top20_ids, top20_logits, greedy, greedy_gap }) => {
    const certain = greedy_gap.findIndex((gap) => gap < NEAR_TIE);
    const length = certain < 0 ? greedy.length : certain;

    test("logits after the prompt within 2e-2", async () => {
      const { logits } = await model.score(prompt, { at: [prompt.length - 1] });
      const found = top20_ids.map((id) => logits[0]![id]!);
      expect(maxAbsDiff(found, top20_logits)).toBeLessThan(2e-2);
    });

    test("greedy ids, plain and with LayerSkip", async () => {
      for (const options of [{ drafter: "none" }, { exitLayer: 10, draftLength: 4 }] as const) {
        const { ids } = await model.generate(prompt, { ...options, maxTokens: greedy.length }).result();
        expect(ids.slice(0, length)).toEqual(greedy.slice(0, length));
      }
    });
  });

  describe.skipIf(!hasAsset(BLOCK))("with its exit block", () => {
    beforeAll(async () => {
      await model.loadExitAdapter(asset(BLOCK));
    });
    afterAll(() => model.removeExitAdapter());

    test("is what its file says, and the default is auto", () => {
      expect(model.exitAdapter).toEqual({
        ...{
          kind: "block",
          exitLayer: 3,
          hotIds: 8192,
          agreement: undefined,
          parameters: 3_872_448,
          bytes: expect.any(Number) as number,
        },
        baseModel: "HuggingFaceTB/SmolLM2-135M-Instruct",
      });
      expect(model.defaults.drafter).toBe("auto");
    });

    test("the first rounds of a chat are the golden ones", async () => {
      const { prompt, greedy, rounds } = golden("chat-gravity");
      const drafted = await model.generate(prompt, { drafter: "adapter", draftLength: 4, maxTokens: 12 }).result();
      expect(drafted.ids).toEqual(greedy.slice(0, 12));
      const accepted = drafted.rounds.map((round) => round.accepted);
      expect(accepted.slice(0, 2)).toEqual(rounds[4]!.slice(0, 2));
    });

    describe.runIf(SLOW).each(blockCases)("$name, in full", ({ name, prompt, greedy, rounds, agreement }) => {
      test.each([1, 2, 3, 5, 8])("draft length %i: golden ids and accepted drafts", async (draftLength) => {
        const options = { drafter: "adapter", draftLength, maxTokens: greedy.length } as const;
        const result = await model.generate(prompt, options).result();
        const certain = certainOf(name);
        expect(result.ids.slice(0, certain)).toEqual(greedy.slice(0, certain));
        const expected = rounds[draftLength]!;
        expect(result.rounds.map(({ accepted }) => accepted).slice(0, expected.length)).toEqual(expected);
      });

      test("agreement with the whole model is the golden one", async () => {
        // The last token of the text is followed by none.
        const ids = [...prompt, ...greedy.slice(0, -1)];
        const options = { text: ids, from: prompt.length, maxTokens: ids.length, exitLayers: [3] };
        const { positions, adapter, exits } = await model.exitAgreement(options);
        expect(positions).toBe(greedy.length - 1);
        expect(adapter!.agreement).toBeCloseTo(agreement, 3);
        expect(exits[0]!.agreement).toBeLessThan(0.15);
      });

      test.each<[string, GenerateOptions]>([
        ["a chain, sampled", { draftLength: 3, temperature: 0.8, topP: 0.9, seed: 7 }],
        ["a tree", { draftLength: 3, treeSize: 4 }],
        ["a tree, sampled", { draftLength: 2, treeSize: 5, temperature: 1, minP: 0.05, seed: 8 }],
        ["the governor", { drafter: "auto" }],
      ])("%s: 16 tokens of plain decoding", async (_, drafting) => {
        const { temperature, topP, minP, seed } = drafting;
        const options = { maxTokens: 16, temperature, topP, minP, seed } as GenerateOptions;
        const plain = await model.generate(prompt, { ...options, drafter: "none" }).result();
        const drafted = await model.generate(prompt, { ...options, drafter: "adapter", ...drafting }).result();
        expect(drafted.ids).toEqual(plain.ids);
      });
    });
  });
});

function golden(name: string): BlockCase {
  return blockCases.find((one) => one.name === name)!;
}

/** Ids of a case that no near-tie of the oracle makes doubtful. */
function certainOf(name: string): number {
  const { greedy, greedy_gap } = cases.find((one) => one.name === name)!;
  const certain = greedy_gap.findIndex((gap) => gap < NEAR_TIE);
  return certain < 0 ? greedy.length : certain;
}
