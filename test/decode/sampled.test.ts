/**
 * Promise 1 when sampling: whatever drafts, and however, the ids are those of plain decoding with the same seed. Random prompts,
 * seeds, temperatures, filters, penalties, exit layers, draft lengths and controllers.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONTROLLER_NAMES } from "../../src/decode/controllers/registry.ts";
import { load, type Model } from "../../src/index.ts";
import { FAMILIES, familyFolder } from "../families.ts";
import { STORIES } from "../memory_folder.ts";
import { type Random, seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";
import { randomDrafting, randomSampling } from "./random_options.ts";
import { RandomTrees } from "./random_trees.ts";

/** One text, plain and with several drafters. */
async function compare(model: Model, random: Random, drafters: number, maxTokens: number): Promise<void> {
  const { layers, vocabSize } = model.spec;
  const prompt = random.ints(random.int(1, 12), 3, vocabSize - 1);
  const sampling = { ...randomSampling(random, vocabSize), maxTokens, ignoreEos: random.uniform() < 0.5 };
  const plain = await model.generate(prompt, { ...sampling, drafter: "none" }).result();
  for (let i = 0; i < drafters; i++) {
    const byLayers = {
      controller: random.pick(CONTROLLER_NAMES),
      exitLayer: random.int(1, layers - 1),
      draftLength: random.int(1, 7),
      ...(random.uniform() < 0.3 && { hotVocabulary: random.int(8, vocabSize) }),
    };
    const trees = { drafter: new RandomTrees(random, [...prompt, ...plain.ids], [3, 7]) };
    const drafting = random.pick([byLayers, byLayers, trees, randomDrafting(random, layers, 7)]);
    const drafted = await model.generate(prompt, { ...sampling, ...drafting }).result();
    const asked = JSON.stringify({ ...sampling, ...drafting });
    expect(drafted.ids, asked).toEqual(plain.ids);
    expect(drafted.text).toBe(plain.text);
    expect(drafted.finishReason).toBe(plain.finishReason);
    expect(drafted.tokens.map(({ logProb }) => logProb)).toEqual(plain.tokens.map(({ logProb }) => logProb));
  }
}

describe("the default model", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(STORIES);
  });
  afterAll(() => model.dispose());

  const texts = SLOW ? 400 : 10;
  test.each(Array.from({ length: texts }, (_, i) => i))("text %i, plain and with 5 drafters", (_) =>
    seeded((random) => compare(model, random, 5, 24))(),
  );

  test("drafts with the same noise are accepted often", async () => {
    const options = { temperature: 0.8, seed: 11, exitLayer: 3, draftLength: 4, maxTokens: 100 };
    const { stats } = await model.generate("Once upon a time", options).result();
    expect(stats.acceptanceRate).toBeGreaterThan(0.4);
  });

  test("another seed gives another text, the same one the same", async () => {
    const text = async (seed?: number) => {
      const sampling = { temperature: 1, maxTokens: 30, ...(seed !== undefined && { seed }) };
      return model.generate("Once upon a time", sampling).result();
    };
    const [a, b, c, d] = [await text(1), await text(1), await text(2), await text()];
    expect(b.ids).toEqual(a.ids);
    expect(c.ids).not.toEqual(a.ids);
    expect((await text(d.seed)).ids).toEqual(d.ids);
  });

  test("temperature 0 is greedy, whatever else is asked", async () => {
    const greedy = await model.generate("Once upon a time", { maxTokens: 40 }).result();
    const asked = { temperature: 0, seed: 3, topK: 5, typicalP: 0.2, maxTokens: 40, logprobs: true };
    const { ids, seed } = await model.generate("Once upon a time", asked).result();
    expect(ids).toEqual(greedy.ids);
    expect(seed).toBeUndefined();
  });
});

/** In the fast run every second one, the others the next day. */
const today = Math.floor(Date.now() / 86_400_000) % 2;
describe.each(FAMILIES.filter((_, i) => SLOW || i % 2 === today))("families/%s", (name) => {
  test(
    "texts, plain and with 2 drafters each",
    seeded(async (random) => {
      await using model = await load(familyFolder(name));
      for (let i = 0; i < (SLOW ? 12 : 2); i++) await compare(model, random, 2, 16);
    }),
  );
});
