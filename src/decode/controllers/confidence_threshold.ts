/**
 * How sure a draft has to be for drafting to go on: a threshold that follows the text.
 *
 * Hugging Face transformers' `assistant_confidence_threshold` is a constant; DEL (2025) updates it from the mean confidence
 * of accepted and of refused drafts (from memory). Ours: the midpoint of the two means, each exponentially discounted a
 * draft, and transformers' constant until both kinds have been seen.
 */

import type { RoundOutcome } from "../plan.ts";

/** The default of transformers' `assistant_confidence_threshold`. */
const FIRST_THRESHOLD = 0.4;
/** Weight of a draft's probability against that of the next of its kind. */
const DISCOUNT = 0.95;

class DiscountedMean {
  #sum = 0;
  #weight = 0;

  add(value: number): void {
    this.#sum = DISCOUNT * this.#sum + value;
    this.#weight = DISCOUNT * this.#weight + 1;
  }

  get value(): number | undefined {
    return this.#weight > 0 ? this.#sum / this.#weight : undefined;
  }
}

export class ConfidenceThreshold {
  readonly #accepted = new DiscountedMean();
  readonly #refused = new DiscountedMean();

  /** The least probability with which drafting goes on. */
  get value(): number {
    const accepted = this.#accepted.value;
    const refused = this.#refused.value;
    return accepted === undefined || refused === undefined ? FIRST_THRESHOLD : (accepted + refused) / 2;
  }

  /** Of the refused drafts only the first is an observation: those behind it had a context that is not the text. */
  observe({ accepted, drafted, probabilities }: RoundOutcome): void {
    for (const probability of probabilities.slice(0, accepted)) this.#accepted.add(probability);
    const firstRefused = probabilities[accepted];
    if (accepted < drafted && firstRefused !== undefined) this.#refused.add(firstRefused);
  }
}
