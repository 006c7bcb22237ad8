/** The plans that the governor weighs, each with its price and what it is expected to emit. */

import { type PlanPrice, plainPlan } from "../plan.ts";
import type { Acceptance } from "./acceptance.ts";
import { expectedTokens } from "./expected_tokens.ts";
import type { PlanPrices } from "./prices.ts";

export interface ChoiceOptions {
  readonly layers: number;
  /** Exit layers to choose from, ascending, each below `layers`. */
  readonly exitLayers: readonly number[];
  /** Draft lengths to choose from, ascending. */
  readonly draftLengths: readonly number[];
  readonly prices: PlanPrices;
}

/** No round is planned that takes longer: a GPU that is busy for seconds freezes the screen, or is reset. */
const LONGEST_ROUND_MS = 200;
/** A single timing of plain decoding may be this share too high; many are as much less as their root. */
const PLAIN_DOUBT = 0.3;
/** Standard deviations above its mean where acceptance may well be. */
const OPTIMISM = 0.25;

/** All choices by what is expected, plain decoding first. */
export function priceChoices({ layers, exitLayers, draftLengths, prices }: ChoiceOptions, acceptance: Acceptance) {
  const plain: PlanPrice = { ...plainPlan(layers), milliseconds: prices.milliseconds(plainPlan(layers)), tokens: 1 };
  const drafts = exitLayers.flatMap((exitLayer) => {
    const mean = acceptance.of(exitLayer);
    return draftLengths.map((draftLength): PlanPrice => {
      const milliseconds = prices.milliseconds({ exitLayer, draftLength });
      return { exitLayer, draftLength, milliseconds, tokens: expectedTokens(mean, draftLength) };
    });
  });
  return { plain, drafts: drafts.filter(({ milliseconds }) => milliseconds <= LONGEST_ROUND_MS) };
}

/** Expected tokens a millisecond. */
export function rate({ tokens, milliseconds }: PlanPrice): number {
  return tokens / milliseconds;
}

/** Tokens a millisecond as they may well be: by optimism about what was seen little of. */
export function hope(choice: PlanPrice, acceptance: Acceptance, prices: PlanPrices): number {
  const { exitLayer, draftLength, milliseconds } = choice;
  if (draftLength > 0) return expectedTokens(acceptance.of(exitLayer, OPTIMISM), draftLength) / milliseconds;
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
