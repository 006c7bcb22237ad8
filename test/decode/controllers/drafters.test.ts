/** The governor among drafters: what it foresees of lookup, what it learns of trees, and which it plans. */

import { describe, expect, test } from "vitest";
import { calibrationPlans } from "../../../src/decode/controllers/calibration.ts";
import { Governor } from "../../../src/decode/controllers/governor.ts";
import { LookupForecast } from "../../../src/decode/controllers/lookup_forecast.ts";
import { priceFeatures } from "../../../src/decode/controllers/price_features.ts";
import { Prices } from "../../../src/decode/controllers/prices.ts";
import { Random } from "../../../src/decode/controllers/random.ts";
import { TreeAcceptance } from "../../../src/decode/controllers/tree_acceptance.ts";
import { drafterOf, plainPlan, type RoundOutcome, type RoundPlan } from "../../../src/decode/plan.ts";
import { seeded } from "../../reference/random.ts";
import { calibrated, costOn, DEEP, GPU, SMALL, SOFTWARE, type TestDevice, timed } from "./devices.ts";

const LOOKUP: RoundPlan = { drafter: "lookup", exitLayer: 0, draftLength: 0, treeSize: 7 };
const RECYCLE: RoundPlan = { drafter: "recycle", exitLayer: 0, draftLength: 0, treeSize: 7 };
const LARGER: RoundPlan = { ...RECYCLE, treeSize: 15 };

describe("what is foreseen of lookup", () => {
  test("nothing in a text that has not repeated anything", () => {
    const forecast = new LookupForecast();
    forecast.tell([1, 2, 3, 4, 5]);
    expect(forecast.matched).toBe(0);
    expect(forecast.tokens(7)).toBe(1);
  });

  test("more, the longer the text repeats itself", () => {
    const forecast = new LookupForecast();
    const phrase = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    forecast.tell(phrase);
    const expected = phrase.map((id, i) => {
      forecast.tell([id]);
      expect(forecast.matched).toBe(i + 1);
      return forecast.tokens(7);
    });
    expect(expected[0]).toBeLessThan(2.5);
    expect(expected[4]).toBeGreaterThan(expected[0]!);
    expect(expected[11]).toBeGreaterThan(4);
    forecast.tell([99]);
    expect(forecast.tokens(7)).toBe(1);
  });

  test("less, where matches have led nowhere", () => {
    const [honest, deceived] = [new LookupForecast(), new LookupForecast()];
    for (let i = 0; i < 40; i++) {
      honest.tell([1, 2, 100 + i]);
      deceived.tell([1, 100 + i]);
    }
    for (const forecast of [honest, deceived]) forecast.tell([1]);
    expect(honest.matched).toBe(deceived.matched);
    expect(honest.tokens(7)).toBeGreaterThan(3);
    expect(deceived.tokens(7)).toBeLessThan(1.1);
  });

  test(
    "the match of random texts is the longest there is, of equal ones the latest",
    seeded(async (random) => {
      for (let i = 0; i < 50; i++) {
        const ids = random.ints(random.int(2, 60), 0, random.pick([1, 3]));
        const forecast = new LookupForecast();
        forecast.tell(ids);
        let longest = 0;
        for (let place = 0; place < ids.length - 1; place++) {
          let length = 0;
          while (length < 16 && length <= place && ids[place - length] === ids[ids.length - 1 - length]) length++;
          longest = Math.max(longest, length);
        }
        expect(forecast.matched, ids.join(" ")).toBe(longest);
      }
    }),
  );
});

describe("what is expected of trees", () => {
  test("follows what was accepted lately, whatever the size", () => {
    const trees = new TreeAcceptance();
    const [before, larger] = [trees.tokens(RECYCLE), trees.tokens(LARGER)];
    expect(larger).toBeGreaterThan(before);
    for (let i = 0; i < 20; i++) trees.observe(outcome(RECYCLE, 3));
    expect(trees.tokens(RECYCLE)).toBeGreaterThan(2.5);
    expect(trees.tokens(LARGER)).toBeGreaterThan(trees.tokens(RECYCLE));
    for (let i = 0; i < 60; i++) trees.observe(outcome(LARGER, 0));
    expect(trees.tokens(RECYCLE)).toBeLessThan(1.2);
    expect(trees.hopedTokens(RECYCLE)).toBeGreaterThan(trees.tokens(RECYCLE));
  });
});

describe.each([GPU, SOFTWARE])("the governor among drafters, on a device like a $name", (device) => {
  test("looks up where the text repeats itself, from the first round on", () => {
    const governor = make(device, [], [LOOKUP, RECYCLE]);
    const phrase = Array.from({ length: 30 }, (_, i) => i);
    governor.tell([...phrase, 99, ...phrase.slice(0, 12)]);
    expect(drafterOf(governor.plan())).toBe("lookup");
    governor.tell([500]);
    expect(drafterOf(governor.plan())).not.toBe("lookup");
  });

  test("recycles where that pays, and stops where it does not", () => {
    for (const [accepted, least, most] of [
      [4, 0.6, 1],
      [0, 0, 0.12],
    ] as const) {
      const governor = make(device, [], [RECYCLE, LARGER]);
      let recycled = 0;
      for (let round = 0; round < 200; round++) {
        const plan = governor.plan();
        if (drafterOf(plan) === "recycle") recycled++;
        governor.observe(played(plan, device, drafterOf(plan) === "recycle" ? accepted : 0));
      }
      expect(recycled / 200).toBeGreaterThanOrEqual(least);
      expect(recycled / 200).toBeLessThanOrEqual(most);
    }
  });

  test("loses at most 2 % and two rounds where no drafter is ever right", () => {
    const governor = make(device, [1, 2, 3, 4], [LOOKUP, RECYCLE, LARGER]);
    const cost = costOn(device, SMALL);
    let steps = 0;
    let n = 0;
    for (; n < 400; n++) {
      const plan = governor.plan();
      steps += cost(plan) / cost(plainPlan(5));
      governor.observe(played(plan, device, 0));
      governor.tell([n % 3]); // a text that seems to repeat itself
    }
    expect(steps).toBeLessThan(1.02 * n + 2);
  });
});

describe("the governor with an exit adapter: a layer of its own and a sixth of the head, behind layer 3 of 30", () => {
  const shape = { ...DEEP, exitAdapter: { layers: 1.1, head: 1 / 6 } };
  const chains = [1, 2, 3, 5].map((draftLength): RoundPlan => ({ drafter: "adapter", exitLayer: 3, draftLength }));
  /** Steps of plain decoding saved in 300 rounds, and rounds that drafted, where a draft is right so often. */
  const run = (device: TestDevice, acceptance: number) => {
    const cost = costOn(device, shape);
    const prices = new Prices(shape);
    const plans = calibrationPlans({ layers: 30, exitLayers: [], maxDraftLength: 7, others: [chains[0]!, chains[3]!] });
    for (const plan of plans) prices.observe(timed(plan, cost(plan)));
    const options = { layers: 30, exitLayers: [], draftLengths: [1, 2, 3, 4, 6], trees: chains, prices };
    const governor = new Governor({ ...options, acceptance: 0.6 });
    const random = new Random(7);
    let saved = 0;
    let drafted = 0;
    for (let round = 0; round < 300; round++) {
      const plan = governor.plan();
      let accepted = 0;
      while (accepted < plan.draftLength && random.uniform() < acceptance) accepted++;
      if (plan.draftLength > 0) drafted++;
      saved += accepted + 1 - cost(plan) / cost(plainPlan(30));
      governor.observe({ ...timed(plan, cost(plan)), accepted });
    }
    return { saved, drafted };
  };

  test("drafts where half of its drafts are right, on a GPU", () => {
    const { saved, drafted } = run(GPU, 0.5);
    expect(drafted).toBeGreaterThan(240);
    expect(saved).toBeGreaterThan(90);
  });

  test("loses at most 2 % and two rounds where none is, and drafts seldom where further rows cost much", () => {
    for (const device of [GPU, SOFTWARE]) expect(run(device, 0).saved).toBeGreaterThan(-(0.02 * 300 + 2));
    const { saved, drafted } = run(SOFTWARE, 0.25);
    expect(drafted).toBeLessThan(60);
    expect(saved).toBeGreaterThan(-(0.02 * 300 + 2));
  });

  test("prices a draft by the layers, the adapter and its part of the head", () => {
    const [, layers, heads] = priceFeatures(chains[1]!, shape);
    expect(layers).toBeCloseTo(30 + 2 * (3 + 1.1), 9);
    expect(heads).toBeCloseTo(1 + 2 / 6, 9);
  });
});

/** In a text whose plain rounds have been timed. */
function make(device: TestDevice, exitLayers: number[], trees: RoundPlan[]): Governor {
  const cost = costOn(device, SMALL);
  const prices = calibrated(SMALL, [1, 2, 3, 4], cost);
  const draftLengths = [1, 2, 3, 4, 6];
  const governor = new Governor({ layers: 5, exitLayers, draftLengths, trees, prices, acceptance: 0.6 });
  for (let i = 0; i < 3; i++) governor.observe(timed(plainPlan(5), cost(plainPlan(5))));
  return governor;
}

function outcome(plan: RoundPlan, accepted: number): RoundOutcome {
  return { plan, drafted: plan.treeSize ?? 0, accepted, probabilities: [], shadows: [], milliseconds: 1 };
}

function played(plan: RoundPlan, device: TestDevice, accepted: number): RoundOutcome {
  return { ...outcome(plan, accepted), milliseconds: costOn(device, SMALL)(plan) };
}
