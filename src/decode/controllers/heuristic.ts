/**
 * The draft length of Hugging Face transformers' assisted generation, `num_assistant_tokens_schedule = "heuristic"`: two
 * more after a round whose drafts were all accepted, one fewer after any other.
 */

import type { Controller, DrafterKind, RoundOutcome, RoundPlan } from "../plan.ts";

export interface HeuristicOptions {
  readonly exitLayer: number;
  /** Who drafts. Default: the layers alone. */
  readonly drafter?: DrafterKind;
  /** Of the first round. */
  readonly draftLength: number;
  readonly maxDraftLength: number;
}

export class HeuristicController implements Controller {
  readonly #exit: Pick<RoundPlan, "drafter" | "exitLayer">;
  readonly #longest: number;
  #draftLength: number;

  constructor({ exitLayer, drafter, draftLength, maxDraftLength }: HeuristicOptions) {
    this.#exit = { exitLayer, ...(drafter && { drafter }) };
    this.#longest = maxDraftLength;
    this.#draftLength = Math.min(draftLength, maxDraftLength);
  }

  plan(): RoundPlan {
    return { ...this.#exit, draftLength: this.#draftLength };
  }

  /** A round cut short by the end of the text counts by the drafts it made; one that made none tells nothing. */
  observe({ drafted, accepted }: RoundOutcome): void {
    if (drafted === 0) return;
    const change = accepted === drafted ? 2 : -1;
    this.#draftLength = Math.max(1, Math.min(this.#longest, this.#draftLength + change));
  }
}
