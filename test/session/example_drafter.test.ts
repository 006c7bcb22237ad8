/** The drafter of examples/frequent_continuations.ts, as a user would try it. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FrequentContinuations } from "../../examples/frequent_continuations.ts";
import { load, type Model } from "../../src/index.ts";
import { tryDrafter } from "../../src/research.ts";

const LIST =
  "Lily has a red ball. Tom has a blue ball. Lily has a red hat. Tom has a blue hat. Lily has a red car. Tom has a blue";

describe("on texts made by hand", () => {
  function propose(drafter: FrequentContinuations, ids: number[], treeSize: number) {
    const tree = drafter.propose({ ids, promptLength: 1, treeSize, vocabSize: 100 });
    return tree.map(({ id, parent }) => ({ id, parent }));
  }

  test("it proposes what has followed most often first, and what followed that; also the other way", () => {
    const twoWays = [1, 2, 3, 8, 1, 2, 4, 9, 1, 2, 4, 9, 6, 1, 2];
    const tree = propose(new FrequentContinuations(), twoWays, 7);
    expect(tree.slice(0, 2)).toEqual([
      { id: 4, parent: -1 },
      { id: 9, parent: 0 },
    ]);
    expect(tree).toContainEqual({ id: 3, parent: -1 });
    expect(tree.length).toBe(7);
    expect(tree.every(({ parent }, at) => parent < at)).toBe(true);
  });

  test("the longest run that is known outweighs the shorter ones", () => {
    const byTheFirst = [5, 2, 3, 1, 2, 4, 1, 2, 4, 1, 2, 4, 5, 2];
    expect(propose(new FrequentContinuations(), byTheFirst, 1)).toEqual([{ id: 3, parent: -1 }]);
  });

  test("it trusts runs of a length less when they have been wrong", () => {
    const drafter = new FrequentContinuations();
    const text = [5, 2, 3, 1, 2, 4, 1, 2, 4, 1, 2, 4, 5, 2];
    propose(drafter, text, 1);
    // After 5 2 stood 3, after 2 mostly 4: a model that says 4 again and again.
    for (let round = 0; round < 20; round++) drafter.observe({ drafts: [], accepted: [], ids: [4] });
    expect(propose(drafter, text, 1)).toEqual([{ id: 4, parent: -1 }]);
  });

  test("another text is counted from its beginning, a longer one from where it was", () => {
    const drafter = new FrequentContinuations();
    propose(drafter, [1, 2, 3], 1);
    propose(drafter, [7, 8, 9, 7, 8], 1);
    expect(propose(drafter, [7, 8, 9, 7, 8], 1)).toEqual([{ id: 9, parent: -1 }]);
    expect(propose(drafter, [1, 2], 1)).toEqual([{ id: 3, parent: -1 }]);
  });

  test("it proposes nothing where nothing was counted", () => {
    expect(propose(new FrequentContinuations(), [], 7)).toEqual([]);
  });
});

describe("with the model that comes with the package", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load();
  });
  afterAll(() => model.dispose());

  test("greedily: the text of plain decoding, in fewer rounds; the second time in far fewer", async () => {
    const drafter = new FrequentContinuations();
    const first = await tryDrafter(model, drafter, LIST, { maxTokens: 100 });
    expect(first).toMatchObject({ sameText: true, tokens: 99, stats: { plans: [{ drafter: "own", treeSize: 7 }] } });
    expect(first.tokensPerRound).toBeGreaterThan(1.3);
    expect(first.accepted).toBe(first.tokens - first.rounds);

    const second = await tryDrafter(model, drafter, LIST, { maxTokens: 100 });
    expect(second.sameText).toBe(true);
    expect(second.tokensPerRound).toBeGreaterThan(2 * first.tokensPerRound);
  });

  test("at temperature 1: the text that the seed gives plainly, in fewer rounds", async () => {
    const options = { maxTokens: 60, temperature: 1, seed: 7 };
    const trial = await tryDrafter(model, new FrequentContinuations(), LIST, options);
    expect(trial).toMatchObject({ sameText: true, tokens: 59 });
    expect(trial.tokensPerRound).toBeGreaterThan(1);
  });
});
