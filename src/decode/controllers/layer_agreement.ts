/** DEL's estimate of how often an exit layer's choice is the full model's: agreements, exponentially discounted a round. */

/** Weight of a round against the next (from memory: the paper discounts, the constant is ours). */
const DISCOUNT = 0.95;
/** Rows that the expectation before the first round is worth. */
const PRIOR_ROWS = 2;

export class LayerAgreement {
  readonly #expected: number;
  #agreed = 0;
  #rows = 0;

  /** @param expected agreement before the first round */
  constructor(expected: number) {
    this.#expected = expected;
  }

  observe(agreed: number, rows: number): void {
    this.#agreed = DISCOUNT * this.#agreed + agreed;
    this.#rows = DISCOUNT * this.#rows + rows;
  }

  get value(): number {
    return (this.#agreed + PRIOR_ROWS * this.#expected) / (this.#rows + PRIOR_ROWS);
  }
}
