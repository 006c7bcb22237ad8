/**
 * Notices that drafting has stopped to pay: a cumulative sum test (Page 1954) on what each round saved against plain
 * decoding. A unit is the time of a plain round.
 */

/** Steps lost since drafting last paid at which it is given up for now, and from where a probe that worked takes it up. */
const MOST_STEPS = 3;
const RESUMED_STEPS = 1.5;

export class Setback {
  #lost = 0;

  /** Whether drafting is given up for now. */
  get isGivenUp(): boolean {
    return this.#lost >= MOST_STEPS;
  }

  /** A round saved so many steps; a negative number: it lost them. */
  observe(saved: number): void {
    this.#lost = Math.max(0, this.#lost - saved);
  }

  resume(): void {
    this.#lost = Math.min(this.#lost, RESUMED_STEPS);
  }
}
