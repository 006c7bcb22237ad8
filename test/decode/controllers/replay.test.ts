/** Controllers on whole texts: what the governor loses against the best plan that hindsight knows, and that all of them end. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type AcceptancePrior, DEFAULT_ACCEPTANCE } from "../../../src/decode/controllers/acceptance.ts";
import { FixedController } from "../../../src/decode/controllers/fixed.ts";
import { Governor } from "../../../src/decode/controllers/governor.ts";
import type { PriceShape } from "../../../src/decode/controllers/price_features.ts";
import { Prices } from "../../../src/decode/controllers/prices.ts";
import { Random } from "../../../src/decode/controllers/random.ts";
import { CONTROLLER_NAMES, CONTROLLERS } from "../../../src/decode/controllers/registry.ts";
import { plainPlan } from "../../../src/decode/plan.ts";
import { calibrated, costOn, DEEP, GPU, noisy, SMALL, SOFTWARE, type TestDevice } from "./devices.ts";
import { type RecordedText, replay, textLength } from "./replay.ts";
import {
  DEEP_AGREEMENT,
  deepModelText,
  recordedTexts,
  SMALL_AGREEMENT,
  smallModelText,
  textGoodUntil,
} from "./texts.ts";

const DRAFT_LENGTHS = [1, 2, 3, 4, 6, 8];
const COUNT = 16;

interface Setting {
  readonly device: TestDevice;
  readonly acceptance?: AcceptancePrior;
  readonly isCalibrated?: boolean;
  /** Draft lengths compared. */
  readonly lengths?: readonly number[];
  /** Seed of the noise of timings. */
  readonly noise?: number;
}

interface Regret {
  /** Time over that of the best fixed plan, or of plain decoding, less one. */
  readonly best: number;
  readonly plain: number;
}

function exitsOf(text: RecordedText): number[] {
  return Object.keys(text.exits)
    .map(Number)
    .sort((a, b) => a - b);
}

function shapeOf({ layers }: RecordedText): PriceShape {
  return layers === DEEP.layers ? DEEP : { ...SMALL, layers };
}

function regret(
  text: RecordedText,
  { device, acceptance = DEFAULT_ACCEPTANCE, isCalibrated = true, noise: seed, lengths = DRAFT_LENGTHS }: Setting,
): Regret {
  const shape = shapeOf(text);
  const cost = costOn(device, shape);
  const exitLayers = exitsOf(text);
  const noise = seed === undefined ? (milliseconds: number) => milliseconds : noisy(seed);
  const prices = isCalibrated ? calibrated(shape, exitLayers, cost, noise) : new Prices(shape);
  const options = { cost, random: new Random(0) };
  const governor = new Governor({ layers: text.layers, exitLayers, draftLengths: lengths, prices, acceptance });
  const governed = replay(text, governor, { ...options, noise, observe: (outcome) => prices.observe(outcome) });
  expect(governed.tokens).toBe(textLength(text));
  const drafts = exitLayers.flatMap((exitLayer) => lengths.map((draftLength) => ({ exitLayer, draftLength })));
  const [plain, ...others] = [plainPlan(text.layers), ...drafts].map(
    (plan) => replay(text, new FixedController(plan), options).milliseconds,
  ) as [number, ...number[]];
  return { best: governed.milliseconds / Math.min(plain, ...others) - 1, plain: governed.milliseconds / plain - 1 };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

const MODELS = [
  { shape: SMALL, agreement: SMALL_AGREEMENT, make: smallModelText },
  { shape: DEEP, agreement: DEEP_AGREEMENT, make: deepModelText },
];

for (const device of [GPU, SOFTWARE]) {
  describe(`the governor on a ${device.name}`, () => {
    const recorded = recordedTexts();

    test.each(recorded)("is within 5 % of the best fixed plan, and never behind plain decoding: $name", (text) => {
      // All exits, and those and the lengths that a session compares.
      for (const [exits, lengths] of [
        [[1, 2, 3, 4], DRAFT_LENGTHS],
        [
          [1, 2, 3],
          [1, 2, 3, 4, 6],
        ],
      ] as const) {
        const some = { ...text, exits: Object.fromEntries(exits.map((exit) => [exit, text.exits[exit]!])) };
        const { best, plain } = regret(some, { device, lengths });
        expect(best).toBeLessThan(0.05);
        expect(plain).toBeLessThan(0.02);
      }
    });

    for (const { shape, agreement, make } of MODELS) {
      const texts = Array.from({ length: COUNT }, (_, seed) => make(seed));
      const exits = exitsOf(texts[0]!);
      const hopeless = textGoodUntil(0, 250, shape.layers, exits);

      // Hindsight picks the luckiest of 25 plans for each text: the plan that is best on average is 1 to 2 % behind it.
      test(`is within 5 % of the best fixed plan on average, knowing the model (${shape.layers} layers)`, () => {
        expect(mean(texts.map((text) => regret(text, { device, acceptance: agreement }).best))).toBeLessThan(0.05);
      });

      test(`is within 8 % of it on average, knowing nothing of the model, 10 % of the device either (${shape.layers} layers)`, () => {
        for (const isCalibrated of [true, false]) {
          const regrets = texts.map((text) => regret(text, { device, isCalibrated }).best);
          expect(mean(regrets)).toBeLessThan(isCalibrated ? 0.08 : 0.1);
        }
      });

      test(`is within 8 % of it on average when timings are noisy (${shape.layers} layers)`, () => {
        const regrets = texts.map((text, i) => regret(text, { device, acceptance: agreement, noise: i }));
        expect(mean(regrets.map(({ best }) => best))).toBeLessThan(0.08);
        for (const { plain } of regrets) expect(plain).toBeLessThan(0.08);
      });

      test(`takes at most 2 % longer than plain decoding where no draft is accepted (${shape.layers} layers)`, () => {
        for (const isCalibrated of [true, false]) {
          for (const acceptance of [0.6, 0.95, agreement]) {
            expect(regret(hopeless, { device, acceptance, isCalibrated }).plain).toBeLessThan(0.02);
          }
        }
      });

      test(`takes at most 2 % longer than plain decoding where drafts stop being accepted (${shape.layers} layers)`, () => {
        for (const length of [120, 250, 400]) {
          const text = textGoodUntil(length / 3, length, shape.layers, exits);
          expect(regret(text, { device }).plain).toBeLessThan(0.02);
        }
      });

      test(`takes at most 8 % longer than plain decoding at the worst, with noisy timings (${shape.layers} layers)`, () => {
        for (let noise = 0; noise < COUNT; noise++) {
          expect(regret(hopeless, { device, noise }).plain).toBeLessThan(0.08);
        }
      });
    }
  });
}

describe("each controller", () => {
  for (const name of CONTROLLER_NAMES) {
    test(`decodes a text to its last token: ${name}`, () => {
      for (const { shape, make } of MODELS) {
        const text = make(3);
        const cost = costOn(GPU, shape);
        const prices = calibrated(shape, exitsOf(text), cost);
        const candidateExits = exitsOf(text);
        const options = { layers: text.layers, exitLayer: candidateExits[1]!, draftLength: 4, maxDraftLength: 8 };
        const controller = CONTROLLERS[name]({ ...options, trees: [], candidateExits, prices, seed: 1 });
        const observe = prices.observe.bind(prices);
        const { tokens, plans } = replay(text, controller, { cost, observe, random: new Random(1) });
        expect(tokens).toBe(textLength(text));
        for (const { exitLayer, draftLength } of plans) {
          expect(draftLength).toBeLessThanOrEqual(8);
          expect(draftLength === 0 ? exitLayer === text.layers : candidateExits.includes(exitLayer)).toBe(true);
        }
      }
    });
  }

  test("has a line in docs/controllers.md that describes it and names its source", () => {
    const lines = readFileSync(new URL("../../../docs/controllers.md", import.meta.url), "utf8").split("\n");
    for (const name of CONTROLLER_NAMES) {
      const [, , description, source] = lines.find((line) => line.startsWith(`| \`${name}\` |`))!.split("|");
      expect(description!.length).toBeGreaterThan(20);
      expect(source!.trim().length).toBeGreaterThan(3);
    }
  });
});
