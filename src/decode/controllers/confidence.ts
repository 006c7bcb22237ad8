/** Drafts as long as the draft is sure of itself: confidence stop, with a threshold that adapts to acceptance. */

import type { Controller, DrafterKind, RoundOutcome, RoundPlan } from "../plan.ts";
import { ConfidenceThreshold } from "./confidence_threshold.ts";

export interface ConfidenceOptions {
  readonly exitLayer: number;
  /** Who drafts. Default: the layers alone. */
  readonly drafter?: DrafterKind;
  readonly maxDraftLength: number;
}

export class ConfidenceController implements Controller {
  readonly #exit: Pick<RoundPlan, "drafter" | "exitLayer">;
  readonly #longest: number;
  readonly #threshold = new ConfidenceThreshold();

  constructor({ exitLayer, drafter, maxDraftLength }: ConfidenceOptions) {
    this.#exit = { exitLayer, ...(drafter && { drafter }) };
    this.#longest = maxDraftLength;
  }

  plan(): RoundPlan {
    return { ...this.#exit, draftLength: this.#longest, leastProbability: this.#threshold.value };
  }

  observe(outcome: RoundOutcome): void {
    this.#threshold.observe(outcome);
  }
}
