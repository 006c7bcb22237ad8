/** Greedy drafts over the hot ids: the largest of their logits. */

import type { Forward } from "../../forward/forward.ts";
import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { CandidateChoice } from "./candidates.ts";
import type { DraftSelection } from "./selection.ts";

export class HotGreedyDraft implements DraftSelection {
  readonly #forward: Forward;
  readonly #choice: CandidateChoice;

  /** @param choice over the candidates that `forward.hotArgmax` leaves */
  constructor(forward: Forward, choice: CandidateChoice) {
    this.#forward = forward;
    this.#choice = choice;
  }

  draft(recorder: Recorder, row: PassRows): void {
    this.#forward.hotArgmax(recorder, row);
    this.#choice.draft(recorder, row);
  }
}
