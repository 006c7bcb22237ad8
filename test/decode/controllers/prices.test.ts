import { describe, expect, test } from "vitest";
import { calibrationPlans } from "../../../src/decode/controllers/calibration.ts";
import { nonNegativeLeastSquares } from "../../../src/decode/controllers/least_squares.ts";
import { headInLayers, rowsComputed } from "../../../src/decode/controllers/price_features.ts";
import { Prices } from "../../../src/decode/controllers/prices.ts";
import { plainPlan, type RoundPlan } from "../../../src/decode/plan.ts";
import { calibrated, costOn, DEEP, GPU, noisy, SMALL, SOFTWARE, timed } from "./devices.ts";

const SETTINGS = [
  { shape: SMALL, exits: [1, 2, 3, 4] },
  { shape: DEEP, exits: [4, 8, 12, 20] },
];

function allPlans(layers: number, exits: readonly number[]): RoundPlan[] {
  const drafts = exits.flatMap((exitLayer) =>
    [1, 2, 3, 4, 5, 6, 7, 8].map((draftLength) => ({ exitLayer, draftLength })),
  );
  return [plainPlan(layers), ...drafts];
}

describe("rows computed", () => {
  test("are the smallest bucket's that holds them, or whole slabs of the largest", () => {
    const counts = [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33];
    expect(counts.map((count) => rowsComputed(count, [1, 2, 4, 8, 16]))).toEqual([
      1, 2, 4, 4, 8, 8, 16, 16, 32, 32, 48,
    ]);
    expect(rowsComputed(3, [1, 8])).toBe(8);
    expect(rowsComputed(9, [1, 8])).toBe(16);
  });
});

describe("least squares", () => {
  test("find the coefficients where they are positive, and the best without negative ones where they are not", () => {
    const solve = (coefficients: readonly [number, number]) =>
      nonNegativeLeastSquares(
        [
          [1, 1],
          [1, 2],
          [2, 1],
          [1, 5],
        ].map((row) => {
          const value = row[0]! * coefficients[0] + row[1]! * coefficients[1];
          return { features: row.map((each) => each / value), weight: value ** 2 };
        }),
        [0, 0],
        0,
        [1, 1],
      );
    expect(solve([2, 3])).toEqual([expect.closeTo(2, 6), expect.closeTo(3, 6)]);
    expect(solve([3, -0.2])).toEqual([expect.closeTo(3 - (0.2 * 10) / 7, 6), 0]);
  });

  test("hold coefficients that nothing tells apart to the anchor's", () => {
    const [one, two] = nonNegativeLeastSquares([{ features: [1, 1], weight: 1 }], [0, 0.1], 0, [0, 1]);
    expect([one, two]).toEqual([expect.closeTo(0.5, 6), expect.closeTo(0.5, 6)]);
  });
});

describe("prices", () => {
  test("are in layers of one row, the head in them, before anything was measured", () => {
    const headLayers = headInLayers({ vocabSize: 512, hiddenSize: 64, layerWeights: 45_312 });
    expect(headLayers).toBeCloseTo(0.723, 3);
    const prices = new Prices({ ...SMALL, headLayers });
    const plain = prices.milliseconds(plainPlan(5));
    const draft =
      prices.milliseconds({ exitLayer: 2, draftLength: 2 }) - prices.milliseconds({ exitLayer: 2, draftLength: 1 });
    expect(plain).toBeGreaterThan(5 + headLayers);
    expect(plain).toBeLessThan(1.2 * (5 + headLayers));
    expect(draft).toBeGreaterThan(2 + headLayers);
  });

  for (const { shape, exits } of SETTINGS) {
    for (const device of [GPU, SOFTWARE]) {
      test(`of all plans follow from the calibration (${device.name}, ${shape.layers} layers)`, () => {
        const cost = costOn(device, shape);
        const prices = calibrated(shape, exits, cost);
        for (const plan of allPlans(shape.layers, exits)) {
          expect(prices.milliseconds(plan) / cost(plan)).toBeGreaterThan(0.95);
          expect(prices.milliseconds(plan) / cost(plan)).toBeLessThan(1.05);
        }
      });
    }
  }

  test("stay near the truth when timings vary by 30 % and some take ten times as long", () => {
    const cost = costOn(GPU, SMALL);
    for (let seed = 0; seed < 20; seed++) {
      const noise = noisy(seed);
      const prices = new Prices(SMALL);
      const plans = allPlans(5, [1, 2, 3, 4]);
      for (let i = 0; i < 10; i++) for (const plan of plans) prices.observe(timed(plan, noise(cost(plan))));
      for (const plan of plans) expect(Math.abs(prices.milliseconds(plan) / cost(plan) - 1)).toBeLessThan(0.2);
    }
  });

  test("one round that takes ten times as long changes no price by more than a quarter", () => {
    const cost = costOn(GPU, SMALL);
    const prices = calibrated(SMALL, [1, 2, 3, 4], cost);
    const plans = allPlans(5, [1, 2, 3, 4]);
    const before = plans.map((plan) => prices.milliseconds(plan));
    const outlier = { exitLayer: 3, draftLength: 3 };
    prices.observe(timed(outlier, 10 * cost(outlier)));
    for (const [i, plan] of plans.entries()) {
      expect(Math.abs(prices.milliseconds(plan) / before[i]! - 1)).toBeLessThan(0.25);
    }
  });

  test("a plan's own timings take the place of the model's", () => {
    const prices = calibrated(SMALL, [1, 2, 3, 4], costOn(GPU, SMALL));
    const plan = { exitLayer: 2, draftLength: 3 };
    const measured = 3 * costOn(GPU, SMALL)(plan);
    for (let i = 0; i < 16; i++) prices.observe(timed(plan, measured));
    expect(Math.abs(prices.milliseconds(plan) / measured - 1)).toBeLessThan(0.15);
    expect(prices.measured(plan)).toBeGreaterThan(15);
    expect(prices.measured({ exitLayer: 2, draftLength: 4 })).toBe(0);
  });

  test("follow a device that grows slower", () => {
    const cost = costOn(GPU, SMALL);
    const prices = calibrated(SMALL, [1, 2, 3, 4], cost);
    const plans = allPlans(5, [1, 2]);
    for (let i = 0; i < 20; i++) for (const plan of plans) prices.observe(timed(plan, 2 * cost(plan)));
    for (const plan of plans) expect(Math.abs(prices.milliseconds(plan) / (2 * cost(plan)) - 1)).toBeLessThan(0.1);
  });

  test("rounds that were cut short, carried shadows or were not timed tell none", () => {
    const prices = new Prices(SMALL);
    const plan = { exitLayer: 2, draftLength: 3 };
    prices.observe({ ...timed(plan, 1), drafted: 2 });
    prices.observe(timed({ ...plan, shadowExits: [3] }, 1));
    for (const milliseconds of [undefined, 0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      prices.observe(timed(plan, milliseconds));
    expect(prices.measured(plan)).toBe(0);
    expect(prices.toJSON().plans).toEqual([]);
  });

  test("come back from JSON as they were", () => {
    const prices = calibrated(SMALL, [1, 2, 3, 4], costOn(SOFTWARE, SMALL), noisy(1));
    const back = Prices.fromJSON(JSON.parse(JSON.stringify(prices)), SMALL)!;
    expect(back.toJSON()).toEqual(prices.toJSON());
    for (const plan of allPlans(5, [1, 2, 3, 4])) {
      expect(Math.abs(back.milliseconds(plan) / prices.milliseconds(plan) - 1)).toBeLessThan(0.02);
    }
  });

  test("JSON that is broken or another model's is none", () => {
    const whole = calibrated(SMALL, [1, 2], costOn(GPU, SMALL)).toJSON();
    const plan = { exitLayer: 1, draftLength: 1, milliseconds: [1, 2] };
    expect(Prices.fromJSON({ ...whole, plans: [plan] }, SMALL)).toBeDefined();
    const broken: unknown[] = [undefined, null, 1, "", [], {}, { ...whole, plans: undefined }, { ...whole, layers: 6 }];
    broken.push({ ...whole, headLayers: 1 }, { ...whole, headLayers: "0.72" }, { ...whole, plans: [null] });
    for (const milliseconds of [undefined, "1", [0], [-1], ["1"], [null]]) {
      broken.push({ ...whole, plans: [{ ...plan, milliseconds }] });
    }
    for (const exitLayer of [0, 6, 1.5, "1"]) broken.push({ ...whole, plans: [{ ...plan, exitLayer }] });
    for (const draftLength of [-1, 0.5, "1"]) broken.push({ ...whole, plans: [{ ...plan, draftLength }] });
    for (const json of broken) expect(Prices.fromJSON(json, SMALL)).toBeUndefined();
  });
});

describe("calibration", () => {
  test("times few plans twice and plain decoding four times, each within bounds", () => {
    for (const { shape, exits } of SETTINGS) {
      const plans = calibrationPlans({ layers: shape.layers, exitLayers: exits, maxDraftLength: 8 });
      expect(plans.length).toBeLessThanOrEqual(14);
      expect(plans[0]).toEqual(plainPlan(shape.layers));
      for (const plan of plans) {
        expect(
          plans.filter((each) => each.exitLayer === plan.exitLayer && each.draftLength === plan.draftLength),
        ).toHaveLength(plan.draftLength === 0 ? 4 : 2);
        expect(plan.draftLength).toBeLessThanOrEqual(8);
      }
    }
  });

  test("with one exit layer prices all its plans, and with none or no drafts times plain decoding", () => {
    const cost = costOn(SOFTWARE, DEEP);
    const prices = calibrated(DEEP, [8], cost);
    for (const plan of allPlans(30, [8]))
      expect(Math.abs(prices.milliseconds(plan) / cost(plan) - 1)).toBeLessThan(0.05);
    const nothing = [plainPlan(5), plainPlan(5)];
    expect(calibrationPlans({ layers: 5, exitLayers: [], maxDraftLength: 8 })).toEqual(nothing);
    expect(calibrationPlans({ layers: 5, exitLayers: [2], maxDraftLength: 0 })).toEqual(nothing);
  });
});
