/**
 * Draft length by Thompson sampling, as in EESD (Liu et al. 2024, 'Speculative Decoding via Early-exiting for Faster LLM
 * Inference with Thompson Sampling Control Mechanism', the Beta variant): acceptance a token has a Beta distribution, each
 * step of the draft samples from it whether to go on. No step looks at the draft, so that all are sampled before the round.
 */

import type { Controller, DrafterKind, RoundOutcome, RoundPlan } from "../plan.ts";
import { Random } from "./random.ts";

export interface ThompsonOptions {
  readonly exitLayer: number;
  /** Who drafts. Default: the layers alone. */
  readonly drafter?: DrafterKind;
  readonly maxDraftLength: number;
  readonly seed: number;
  /** What acceptance a token is expected to be; absent: any is as likely. */
  readonly acceptance?: number;
}

/** Drafts that an expectation is worth: as many as the uniform distribution, Beta(1, 1). */
const PRIOR_DRAFTS = 2;

export class ThompsonController implements Controller {
  readonly #exit: Pick<RoundPlan, "drafter" | "exitLayer">;
  readonly #longest: number;
  readonly #random: Random;
  #accepted: number;
  #refused: number;

  constructor({ exitLayer, drafter, maxDraftLength, seed, acceptance = 0.5 }: ThompsonOptions) {
    this.#exit = { exitLayer, ...(drafter && { drafter }) };
    this.#longest = maxDraftLength;
    this.#random = new Random(seed);
    const expected = Math.max(0.05, Math.min(0.95, acceptance));
    this.#accepted = PRIOR_DRAFTS * expected;
    this.#refused = PRIOR_DRAFTS * (1 - expected);
  }

  plan(): RoundPlan {
    let draftLength = 1;
    while (draftLength < this.#longest && this.#goesOn()) draftLength++;
    return { ...this.#exit, draftLength };
  }

  #goesOn(): boolean {
    return this.#random.uniform() < this.#random.beta(this.#accepted, this.#refused);
  }

  /** Drafts behind the first refused one had a context that is not the text: they tell nothing. */
  observe({ accepted, drafted }: RoundOutcome): void {
    this.#accepted += accepted;
    if (accepted < drafted) this.#refused += 1;
  }
}
