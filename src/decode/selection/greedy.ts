/** Greedy selection: the largest logit, found while the head computes it; no logit is written. */

import type { Forward } from "../../forward/forward.ts";
import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { CandidateChoice } from "./candidates.ts";
import type { DraftSelection, TargetSelection } from "./selection.ts";

export class GreedySelection implements DraftSelection, TargetSelection {
  readonly #forward: Forward;
  readonly #choice: CandidateChoice;

  /** @param choice over the candidates that `forward.argmax` leaves */
  constructor(forward: Forward, choice: CandidateChoice) {
    this.#forward = forward;
    this.#choice = choice;
  }

  draft(recorder: Recorder, row: PassRows): void {
    this.#forward.argmax(recorder, row);
    this.#choice.draft(recorder, row);
  }

  target(recorder: Recorder, rows: PassRows): void {
    this.#forward.argmax(recorder, rows);
    this.#choice.target(recorder, rows);
  }

  shadow(recorder: Recorder, rows: PassRows, index: number): void {
    this.#forward.argmax(recorder, rows);
    this.#choice.shadow(recorder, rows, index);
  }
}
