/** What ends a generation from the outside: stop strings, the time limit; and what is told of its tokens. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InputError, load, type Model } from "../../src/index.ts";
import { STORIES } from "../memory_folder.ts";

const PROMPT = "Once upon a time";

let model: Model;
let whole: Awaited<ReturnType<ReturnType<Model["generate"]>["result"]>>;
beforeAll(async () => {
  model = await load(STORIES);
  whole = await model.generate(PROMPT, { drafter: "none", maxTokens: 80 }).result();
});
afterAll(() => model.dispose());

/** The fewest ids whose text holds `stop`. */
function idsUntil(stop: string): number[] {
  for (let n = 1; n <= whole.ids.length; n++) {
    if (model.decode(whole.ids.slice(0, n)).includes(stop)) return whole.ids.slice(0, n);
  }
  throw new Error(`the text has no "${stop}"`);
}

describe("a stop string", () => {
  test.each([
    ["within a token", "ved"],
    ["across tokens", "loved to play"],
    ["a letter that begins the text's next word", " p"],
    ["that the text begins with", ", there"],
  ])("%s: the text ends before it, the ids with the token that completes it", async (_, stop) => {
    for (const drafting of [{ drafter: "none" }, { exitLayer: 3, draftLength: 6 }, {}] as const) {
      const generation = model.generate(PROMPT, { ...drafting, stop, maxTokens: 80 });
      let streamed = "";
      for await (const part of generation) streamed += part.text;
      const { text, ids, finishReason, rounds, tokens } = await generation.result();
      expect(finishReason).toBe("stop");
      expect(text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
      expect(streamed).toBe(text);
      expect(ids).toEqual(idsUntil(stop));
      expect(tokens.map(({ id }) => id)).toEqual(ids);
      // The prompt's end emits one; a round one more than it accepts, but for the one that was cut.
      const emitted = rounds.reduce((sum, { accepted }) => sum + accepted + 1, 1);
      expect(emitted - ids.length).toBeOneOf([0, 1]);
    }
  });

  test("the first of several that is completed ends it; one that does not come changes nothing", async () => {
    const stop = ["no such text", "Lily", " there"];
    const { text } = await model.generate(PROMPT, { stop, maxTokens: 80 }).result();
    expect(text).toBe(whole.text.slice(0, whole.text.indexOf(" there")));
    const none = await model.generate(PROMPT, { stop: "no such text", maxTokens: 80 }).result();
    expect([none.text, none.ids, none.finishReason]).toEqual([whole.text, whole.ids, "length"]);
  });

  test("what only begins like one comes out at the end", async () => {
    const last = whole.text.slice(-3);
    const generation = model.generate(PROMPT, { stop: `${last}#`, maxTokens: 80 });
    let streamed = "";
    for await (const part of generation) streamed += part.text;
    expect(streamed).toBe(whole.text);
  });

  test("the generation after it is not touched", async () => {
    await model.generate(PROMPT, { stop: "loved", draftLength: 6 }).result();
    expect((await model.generate(PROMPT, { maxTokens: 80 }).result()).ids).toEqual(whole.ids);
  });

  test.each([[""], [["a", ""]], [[3 as unknown as string]]])("%j is refused", (stop) => {
    expect(() => model.generate(PROMPT, { stop })).toThrow(InputError);
  });
});

describe("a time limit", () => {
  test("of 0 ends after the first token", async () => {
    const result = await model.generate(PROMPT, { timeLimitMs: 0 }).result();
    expect([result.ids, result.finishReason]).toEqual([whole.ids.slice(0, 1), "time"]);
  });

  test("lets out what was held back for a stop string that does not come", async () => {
    // The first token is where the text may begin to stop.
    const stop = `${model.decode(whole.ids.slice(0, 3))}#`;
    const generation = model.generate(PROMPT, { timeLimitMs: 0, stop });
    let streamed = "";
    for await (const part of generation) streamed += part.text;
    const { text, ids } = await generation.result();
    expect(streamed).toBe(model.decode(ids));
    expect(text).toBe(streamed);
  });

  test("ends after the round that is under way then", async () => {
    const options = { timeLimitMs: 60, ignoreEos: true, drafter: "none" } as const;
    const { rounds, finishReason, ids } = await model.generate(PROMPT, options).result();
    const spent = rounds.map(({ endMs }) => endMs - rounds[0]!.startMs);
    if (finishReason === "time") {
      expect(spent.at(-1)).toBeGreaterThanOrEqual(60 - 1);
      expect(spent.slice(0, -1).every((ms) => ms < 60)).toBe(true);
    } else {
      expect(ids.length).toBe(512 - model.tokenize(PROMPT).length); // a device fast enough for all of the context
    }
  });

  test.each([-1, Number.NaN, "1" as unknown as number])("%s is refused", (timeLimitMs) => {
    expect(() => model.generate(PROMPT, { timeLimitMs })).toThrow(/generate: timeLimitMs: found/);
  });
});

describe("log probabilities", () => {
  test("are those of the model's own logits, whatever is sampled, and the same with drafts", async () => {
    const options = { topLogprobs: 5, temperature: 1.2, topK: 30, repetitionPenalty: 1.2, seed: 9, maxTokens: 24 };
    const drafted = await model.generate(PROMPT, { ...options, exitLayer: 2, draftLength: 4 }).result();
    const plain = await model.generate(PROMPT, { ...options, drafter: "none" }).result();
    expect(drafted.tokens.map(({ topLogProbs }) => topLogProbs)).toEqual(
      plain.tokens.map(({ topLogProbs }) => topLogProbs),
    );
    const ids = [...plain.promptIds, ...plain.ids];
    const { logits } = await model.score(ids.slice(0, -1), {
      at: plain.ids.map((_, i) => plain.promptIds.length - 1 + i),
    });
    for (const [i, { id, logProb, topLogProbs }] of plain.tokens.entries()) {
      const row = Array.from(logits[i]!);
      const peak = Math.max(...row);
      const logSum = peak + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - peak), 0));
      expect(logProb).toBeCloseTo(row[id]! - logSum, 3);
      expect(topLogProbs).toHaveLength(5);
      const own = topLogProbs!.find((each) => each.id === id);
      if (own && plain.tokens[i]!.text !== "") expect(own.text).toBe(plain.tokens[i]!.text);
      const best = row.map((logit, at) => ({ at, logit })).sort((a, b) => b.logit - a.logit);
      for (const [n, each] of topLogProbs!.entries()) {
        expect(each.logProb).toBeCloseTo(best[n]!.logit - logSum, 3);
        expect(each.logProb).toBeCloseTo(row[each.id]! - logSum, 3);
        expect(each.text.trimStart()).toBe(model.decode([each.id]).trimStart());
      }
    }
  });

  test("without alternatives, and none unless asked for", async () => {
    const asked = await model.generate(PROMPT, { logprobs: true, maxTokens: 6 }).result();
    expect(asked.ids).toEqual(whole.ids.slice(0, 6));
    for (const token of asked.tokens) {
      expect(token.logProb).toBeLessThanOrEqual(0);
      expect(token).not.toHaveProperty("topLogProbs");
    }
    for (const token of whole.tokens) expect(token).not.toHaveProperty("logProb");
  });
});

describe("sampling options that there are not", () => {
  test.each([
    ["temperature", { temperature: -1 }],
    ["temperature", { temperature: 1e-9 }],
    ["topK", { topK: 1.5 }],
    ["topP", { topP: 0 }],
    ["topP", { topP: 1.1 }],
    ["minP", { minP: -0.1 }],
    ["typicalP", { typicalP: 0 }],
    ["repetitionPenalty", { repetitionPenalty: 0 }],
    ["frequencyPenalty", { frequencyPenalty: Number.NaN }],
    ["presencePenalty", { presencePenalty: "1" as unknown as number }],
    ["id of logitBias", { logitBias: { 512: 1 } }],
    ["logitBias", { logitBias: new Map(Array.from({ length: 512 }, (_, id) => [id, Number.NEGATIVE_INFINITY])) }],
    ["controller", { drafter: "auto" as const, controller: "del" as const }],
    ["logitBias\\[3\\]", { logitBias: { 3: Number.POSITIVE_INFINITY } }],
    ["seed", { seed: -1 }],
    ["seed", { seed: 2 ** 53 }],
    ["acceptRule", { acceptRule: "none" as "ratio" }],
    ["controller", { controller: "best" as "fixed" }],
    ["topLogprobs", { topLogprobs: 21 }],
  ])("%s: %o is refused by name", (field, options) => {
    expect(() => model.generate(PROMPT, options)).toThrow(new RegExp(`generate: ${field}: found`));
  });
});

test("the ratio rule: a text of the same length and kind, another drafter another text", async () => {
  const options = { temperature: 1, seed: 4, maxTokens: 40, acceptRule: "ratio" } as const;
  const plain = await model.generate(PROMPT, { ...options, drafter: "none" }).result();
  const invariant = await model.generate(PROMPT, { ...options, acceptRule: "invariant", drafter: "none" }).result();
  expect(plain.ids, "without drafts both rules draw the same noise").toEqual(invariant.ids);
  const drafted = await model.generate(PROMPT, { ...options, exitLayer: 3, draftLength: 4 }).result();
  const again = await model.generate(PROMPT, { ...options, exitLayer: 3, draftLength: 4 }).result();
  expect(again.ids).toEqual(drafted.ids);
  expect(drafted.stats.acceptanceRate).toBeGreaterThan(0.3);
  expect(drafted.ids).not.toEqual(plain.ids);
});

test("the statistics tell which plans rounds followed, why, and what the governor compared", async () => {
  const { stats, rounds } = await model.generate(PROMPT, { maxTokens: 60 }).result();
  expect(stats.plans.reduce((sum, use) => sum + use.rounds, 0)).toBe(rounds.length);
  for (const { rounds: count, reasons } of stats.plans) {
    expect(Object.values(reasons).reduce((sum, each) => sum + each, 0)).toBe(count);
  }
  expect(stats.prices![0]).toMatchObject({ exitLayer: 5, draftLength: 0, tokens: 1 });
  expect(stats.prices!.length).toBeGreaterThan(5);
  const fixed = await model.generate(PROMPT, { exitLayer: 2, draftLength: 3, maxTokens: 20 }).result();
  const plan = { drafter: "layerskip", exitLayer: 2, draftLength: 3, treeSize: 0 };
  expect(fixed.stats.plans).toEqual([{ ...plan, rounds: fixed.rounds.length, reasons: {} }]);
  expect(fixed.stats).not.toHaveProperty("prices");
});

test("how probable drafts were is told where it is asked for, and changes no id", async () => {
  const options = { temperature: 0.8, topP: 0.9, seed: 3, exitLayer: 2, draftLength: 4, maxTokens: 40 };
  const told = await model.generate(PROMPT, { ...options, draftProbabilities: true }).result();
  const untold = await model.generate(PROMPT, options).result();
  expect(told.ids).toEqual(untold.ids);
  for (const { drafted, draftProbabilities = [] } of told.rounds) {
    expect(draftProbabilities).toHaveLength(drafted);
    for (const probability of draftProbabilities) {
      expect(probability).toBeGreaterThan(0);
      expect(probability).toBeLessThanOrEqual(1 + 1e-5);
    }
  }
  for (const round of untold.rounds) expect(round).not.toHaveProperty("draftProbabilities");
  const plain = await model.generate(PROMPT, { drafter: "none", draftProbabilities: true, maxTokens: 5 }).result();
  expect(plain.ids).toEqual(whole.ids.slice(0, 5));
});
