/** The plans that the governor weighs, each with its price and what it is expected to emit. */

import { draftsOf, type PlanPrice, plainPlan, type RoundPlan } from "../plan.ts";
import type { Expectations } from "./expectations.ts";
import type { PlanPrices } from "./prices.ts";

export interface ChoiceOptions {
  readonly layers: number;
  /** Exit layers to choose from, ascending, each below `layers`. */
  readonly exitLayers: readonly number[];
  /** Draft lengths to choose from, ascending. */
  readonly draftLengths: readonly number[];
  /** Plans of drafters that have no layers to choose from. */
  readonly trees?: readonly RoundPlan[];
  readonly prices: PlanPrices;
}

/** No round is planned that takes longer: a GPU that is busy for seconds freezes the screen, or is reset. */
const LONGEST_ROUND_MS = 200;
/** A single timing of plain decoding may be this share too high; many are as much less as their root. */
const PLAIN_DOUBT = 0.3;

/** All choices by what is expected, plain decoding first. */
export function priceChoices(options: ChoiceOptions, expected: Expectations) {
  const { layers, exitLayers, draftLengths, trees = [], prices } = options;
  const plain: PlanPrice = { ...plainPlan(layers), milliseconds: prices.milliseconds(plainPlan(layers)), tokens: 1 };
  const drafts = exitLayers.flatMap((exitLayer) => {
    return draftLengths.map((draftLength) => priced({ exitLayer, draftLength }, expected, prices));
  });
  drafts.push(...trees.map((plan) => priced(plan, expected, prices)));
  return { plain, drafts: drafts.filter(({ milliseconds }) => milliseconds <= LONGEST_ROUND_MS) };
}

function priced(plan: RoundPlan, expected: Expectations, prices: PlanPrices): PlanPrice {
  return { ...plan, milliseconds: prices.milliseconds(plan), tokens: expected.tokens(plan) };
}

/** Expected tokens a millisecond. */
export function rate({ tokens, milliseconds }: PlanPrice): number {
  return tokens / milliseconds;
}

/** Tokens a millisecond as they may well be: by optimism about what was seen little of. */
export function hope(choice: PlanPrice, expected: Expectations, prices: PlanPrices): number {
  const { milliseconds } = choice;
  if (draftsOf(choice) > 0) return expected.hopedTokens(choice) / milliseconds;
  return 1 / (milliseconds * (1 - PLAIN_DOUBT / Math.sqrt(1 + prices.measured(choice))));
}

/** The item of the greatest `value`, the first of equals; undefined of none. */
export function greatest<T>(items: readonly T[], value: (item: T) => number): T | undefined {
  let best: { item: T; value: number } | undefined;
  for (const item of items) {
    const its = value(item);
    if (!best || its > best.value) best = { item, value: its };
  }
  return best?.item;
}
