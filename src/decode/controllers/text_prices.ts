/**
 * What plans cost in this text. What was measured before it, in other texts and loads, says how plans compare; how long plain
 * decoding takes now sets the level.
 */

import { draftsOf, plainPlan, type RoundOutcome } from "../plan.ts";
import type { PricedPlan } from "./price_features.ts";
import type { PlanPrices } from "./prices.ts";
import { Timings } from "./timings.ts";

/** Timings of plain decoding in this text that make it known; one does where it is as long as expected. */
const ENOUGH = 3;
/** By this share: what is within it is noise, and the prices stand as they are. */
const AS_EXPECTED = 0.25;
/** Rounds after which plain decoding is timed again: the text has grown. */
const FRESH_ROUNDS = 100;

export class TextPrices implements PlanPrices {
  readonly #prices: PlanPrices;
  readonly #plain: PricedPlan;
  readonly #timings = new Timings();
  /** Drafting rounds' times in their prices. */
  readonly #drafting = new Timings();
  #rounds = 0;
  #timedAt = 0;

  constructor(prices: PlanPrices, layers: number) {
    this.#prices = prices;
    this.#plain = plainPlan(layers);
  }

  /** Whether plain decoding has been timed in this text, lately. */
  get isKnown(): boolean {
    const { count } = this.#timings;
    if (count === 0 || this.#rounds - this.#timedAt > FRESH_ROUNDS) return false;
    if (count >= ENOUGH) return true;
    return this.#prices.measured(this.#plain) >= ENOUGH && this.#level === 1;
  }

  observe({ plan, drafted, milliseconds }: RoundOutcome): void {
    this.#rounds++;
    if (milliseconds === undefined || !(milliseconds > 0)) return;
    if (draftsOf(plan) > 0) {
      if (drafted >= plan.draftLength) this.#drafting.add(milliseconds / this.milliseconds(plan), this.#rounds);
      return;
    }
    this.#timings.add(milliseconds, this.#rounds);
    this.#timedAt = this.#rounds;
  }

  milliseconds(plan: PricedPlan): number {
    return this.#level * this.#prices.milliseconds(plan);
  }

  measured(plan: PricedPlan): number {
    return this.#prices.measured(plan);
  }

  /** How long everything takes now, in what it took. */
  get #level(): number {
    if (this.#timings.count === 0) return 1;
    return noticeable(this.#timings.mean / this.#prices.milliseconds(this.#plain));
  }

  /** How many plain rounds' time a round took: by its price, or by what rounds take where the prices prove wrong in this text. */
  steps({ plan }: RoundOutcome): number {
    const wrong = draftsOf(plan) > 0 && this.#drafting.count >= ENOUGH ? noticeable(this.#drafting.mean) : 1;
    return (wrong * this.milliseconds(plan)) / this.milliseconds(this.#plain);
  }
}

function noticeable(ratio: number): number {
  return Math.abs(ratio - 1) < AS_EXPECTED ? 1 : ratio;
}
