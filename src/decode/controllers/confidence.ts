/** Drafts as long as the draft is sure of itself: confidence stop, with a threshold that adapts to acceptance. */

import type { Controller, RoundOutcome, RoundPlan } from "../plan.ts";
import { ConfidenceThreshold } from "./confidence_threshold.ts";

export interface ConfidenceOptions {
  readonly exitLayer: number;
  readonly maxDraftLength: number;
}

export class ConfidenceController implements Controller {
  readonly #exitLayer: number;
  readonly #longest: number;
  readonly #threshold = new ConfidenceThreshold();

  constructor({ exitLayer, maxDraftLength }: ConfidenceOptions) {
    this.#exitLayer = exitLayer;
    this.#longest = maxDraftLength;
  }

  plan(): RoundPlan {
    return { exitLayer: this.#exitLayer, draftLength: this.#longest, leastProbability: this.#threshold.value };
  }

  observe(outcome: RoundOutcome): void {
    this.#threshold.observe(outcome);
  }
}
