/**
 * The reference decoder against PyTorch's and transformers' numbers (`golden.json`), and LayerSkip against plain decoding.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { maxAbsDiff } from "./compare.ts";
import type { ReferenceConfig } from "./config.ts";
import { layerSkipGreedy } from "./layer_skip.ts";
import { ReferenceModel } from "./model.ts";
import { seeded } from "./random.ts";
import { randomModel } from "./random_model.ts";

const ROOT = join(import.meta.dirname, "../..");
const SLOW = { timeout: 60_000 };

/** Logits or hidden states by exit layer, or `full`: one row per position of `logits_at`. */
type Rows = number[][];

interface StoriesCase {
  name: string;
  prompt: number[];
  /** New ids, the EOS where it stopped included. */
  greedy: number[];
  /** `[exitLayer][draftLength]`: accepted drafts per round, as long as a full round fits into `greedy`. */
  rounds: Record<string, Record<string, number[]>>;
  logits_ids?: number[];
  logits_at?: number[];
  logits?: Record<string, Rows>;
}

interface FamilyGolden {
  prompt: number[];
  logits_at: number[];
  logits: Rows;
  /** Hidden state before layer i at the last position of `prompt`. */
  exit_hidden_at_last: Record<string, number[]>;
  greedy_prompt: number[];
  greedy: number[];
}

function golden<T>(folder: string): T {
  return JSON.parse(readFileSync(join(folder, "golden.json"), "utf8")) as T;
}

describe("stories260k-layerskip, against transformers in float32", () => {
  const folder = join(ROOT, "models/stories260k-layerskip");
  const model = ReferenceModel.load(folder);
  const { cases } = golden<{ cases: StoriesCase[] }>(folder);

  it.each(cases)("$name: greedy ids", ({ prompt, greedy }) => {
    expect(model.greedy(prompt, { maxTokens: greedy.length })).toEqual(greedy);
  });

  const long = cases.find(({ name }) => name === "long")!;
  it.each(Object.keys(long.logits!))("long: logits of exit %s", (exit) => {
    const rows = model.logits(long.logits_ids!, exit === "full" ? undefined : Number(exit));
    for (const [i, position] of long.logits_at!.entries()) {
      expect(maxAbsDiff(rows[position]!, long.logits![exit]![i]!), `position ${position}`).toBeLessThan(1e-4);
    }
  });

  const runs = cases.flatMap((one) => Object.keys(one.rounds).map((exit) => ({ ...one, exit: Number(exit) })));
  it.each(runs)("$name: accepted drafts per round, exit $exit", SLOW, ({ prompt, greedy, rounds, exit: exitLayer }) => {
    for (const [d, expected] of Object.entries(rounds[exitLayer]!)) {
      const draftLength = Number(d);
      const result = layerSkipGreedy(model, prompt, { exitLayer, draftLength, maxTokens: greedy.length });
      expect(result.ids, `draft length ${d}`).toEqual(greedy);
      const accepted = result.rounds.map((round) => round.accepted);
      expect(accepted.slice(0, expected.length), `draft length ${d}`).toEqual(expected);
    }
  });
});

const families: { family: string; overrides?: Partial<ReferenceConfig> }[] = [
  { family: "llama" },
  // Its golden was computed after a cast to bfloat16 and back, which left RoPE's frequencies rounded: with frequencies in
  // float32, as from_pretrained() has them, position 0 agrees to 1e-5 and later ones differ by up to 0.16.
  { family: "llama-mha-bf16-sharded", overrides: { ropeFrequencyFormat: "bfloat16" } },
];

describe.each(families)("families/$family, against transformers in float32", ({ family, overrides }) => {
  const folder = join(ROOT, "test/assets/families", family);
  const model = ReferenceModel.load(folder, overrides);
  const expected = golden<FamilyGolden>(folder);

  it("logits", () => {
    const rows = model.logits(expected.prompt);
    for (const [i, position] of expected.logits_at.entries()) {
      expect(maxAbsDiff(rows[position]!, expected.logits[i]!), `position ${position}`).toBeLessThan(2e-3);
    }
  });

  it.each(Object.entries(expected.exit_hidden_at_last))("hidden state before layer %s", (layer, hidden) => {
    expect(maxAbsDiff(model.hiddenStates(expected.prompt, Number(layer)).at(-1)!, hidden)).toBeLessThan(2e-3);
  });

  it("greedy ids", () => {
    const options = { maxTokens: expected.greedy.length, eosIds: [] };
    expect(model.greedy(expected.greedy_prompt, options)).toEqual(expected.greedy);
  });
});

describe("any model", () => {
  it(
    "gives a row the same bits alone, among others, and continued from an earlier layer",
    seeded((random) => {
      const model = randomModel(random);
      const ids = random.ints(12, 0, model.config.vocabSize - 1);
      const together = model.hiddenStates(ids);
      const layer = random.int(0, model.config.layers);
      const cache = model.newCache(ids.length);
      for (const [position, id] of ids.entries()) {
        const early = model.forward(model.embed([id]), position, cache, { toLayer: layer });
        const [alone] = model.forward(early, position, cache, { fromLayer: layer });
        expect(alone).toEqual(together[position]);
      }
    }),
  );

  it(
    "gets plain greedy decoding's ids from LayerSkip, within the context and up to the first EOS",
    seeded((random) => {
      for (let trial = 0; trial < 100; trial++) {
        const model = randomModel(random);
        const prompt = random.ints(random.int(1, 6), 0, model.config.vocabSize - 1);
        const endless = model.greedy(prompt, { maxTokens: 24, eosIds: [] });
        const options = {
          maxTokens: random.int(0, 24),
          contextLength: prompt.length + random.int(0, 24),
          eosIds: random.ints(random.int(0, 2), 0, 23).map((index) => endless[index]!), // ids that do turn up
        };
        // Exits at 0 (only the embedding) and at the last layer (every draft right) are included.
        const exitLayer = random.int(0, model.config.layers);
        const draftLength = random.int(0, 8);

        const plain = model.greedy(prompt, options);
        const { ids, rounds } = layerSkipGreedy(model, prompt, { ...options, exitLayer, draftLength });

        expect(ids).toEqual(plain);
        expect(ids.length).toBeLessThanOrEqual(Math.min(options.maxTokens, options.contextLength - prompt.length));
        expect(ids.slice(0, -1).some((id) => options.eosIds.includes(id))).toBe(false);
        for (const { drafted, accepted } of rounds) {
          expect(drafted).toBeLessThanOrEqual(draftLength);
          expect(accepted).toBeLessThanOrEqual(drafted);
          if (exitLayer === model.config.layers && options.eosIds.length === 0) expect(accepted).toBe(drafted);
        }
        // The prefill emits one id, a round its accepted drafts and one more, unless an accepted EOS ended it.
        const most = rounds.reduce((sum, { accepted }) => sum + accepted + 1, Math.min(1, ids.length));
        const endedByDraft = most - ids.length;
        expect(endedByDraft === 0 || (endedByDraft === 1 && options.eosIds.includes(ids.at(-1)!))).toBe(true);
      }
    }),
  );

  it("counts an accepted EOS draft and ends the round with it", () => {
    // With the last layer as exit every draft agrees, so the first EOS is sure to be an accepted draft.
    const model = ReferenceModel.load(join(ROOT, "models/stories260k-layerskip"));
    const prompt = [1, 403, 407, 261, 378];
    const plain = model.greedy(prompt, { maxTokens: 5, eosIds: [] });
    const options = { exitLayer: model.config.layers, draftLength: 8, maxTokens: 20, eosIds: [plain[2]!] };
    expect(layerSkipGreedy(model, prompt, options)).toEqual({
      ids: plain.slice(0, 3),
      rounds: [{ drafted: 8, accepted: 2 }],
    });
  });

  it("drafts no further than the tokens and the context still allow", () => {
    const model = ReferenceModel.load(join(ROOT, "models/stories260k-layerskip"));
    const prompt = [1, 403, 407, 261, 378];
    const drafted = (limits: { maxTokens: number; contextLength?: number }) =>
      layerSkipGreedy(model, prompt, { exitLayer: model.config.layers, draftLength: 4, ...limits }).rounds;
    const rounds = [
      { drafted: 4, accepted: 4 },
      { drafted: 2, accepted: 2 },
    ];
    expect(drafted({ maxTokens: 9 })).toEqual(rounds);
    expect(drafted({ maxTokens: 100, contextLength: prompt.length + 9 })).toEqual(rounds);
    expect(drafted({ maxTokens: 7 })).toEqual([
      { drafted: 4, accepted: 4 },
      { drafted: 0, accepted: 0 },
    ]);
  });
});
