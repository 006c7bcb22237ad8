/**
 * How many drafts of a tree are accepted a round, in this text, of drafters whose trees are a guess in the dark: an average over
 * the last rounds, in units of what the drafter's trees of that size give on the whole, so that sizes learn from each other.
 * Ours.
 */

import { draftsOf, type RoundOutcome, type RoundPlan } from "../plan.ts";

/** What a round counts against the next of its drafter: about 20 rounds are remembered. */
const DISCOUNT = 0.95;
/** Rounds that what is usual is worth. */
const PRIOR_ROUNDS = 3;
/** How much more a tree of twice as many rows gives, on the whole. A guess: recycling's gave 1 to 2.6 times (docs/benchmarks.md). */
const GAIN_OF_DOUBLE = 1.15;
/** Drafts that a tree of 7 rows has accepted a round, on the whole. A guess among the 0.07 to 0.8 of recycling. */
const USUAL = 0.6;

export class TreeAcceptance {
  #accepted = PRIOR_ROUNDS;
  #expected = PRIOR_ROUNDS;
  #rounds = 0;

  /** Tokens that a round emits, the full model's own among them. */
  tokens(plan: RoundPlan): number {
    return 1 + Math.min(draftsOf(plan), usual(plan) * (this.#accepted / this.#expected));
  }

  /** The same as it may well be: more, where little was seen. */
  hopedTokens(plan: RoundPlan): number {
    return 1 + Math.min(draftsOf(plan), (this.tokens(plan) - 1) * (1 + 1 / Math.sqrt(1 + this.#rounds)));
  }

  observe({ plan, accepted }: RoundOutcome): void {
    const prior = PRIOR_ROUNDS * (1 - DISCOUNT); // what was seen is forgotten, what is usual is not
    this.#accepted = this.#accepted * DISCOUNT + prior + accepted / usual(plan);
    this.#expected = this.#expected * DISCOUNT + prior + 1;
    this.#rounds = this.#rounds * DISCOUNT + 1;
  }
}

function usual(plan: RoundPlan): number {
  return USUAL * GAIN_OF_DOUBLE ** Math.log2(draftsOf(plan) / 7);
}
