/** Greedy selection: the largest logit, found while the head computes it; no logit is written. */

import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { CandidateChoice } from "./candidates.ts";
import type { DraftSelection, TargetSelection } from "./selection.ts";

export class GreedySelection implements DraftSelection, TargetSelection {
  readonly #argmax: (recorder: Recorder, rows: PassRows) => void;
  readonly #choice: CandidateChoice;

  /**
   * @param argmax records a head, the whole one or that over hot ids, and leaves candidates
   * @param choice over these candidates
   */
  constructor(argmax: (recorder: Recorder, rows: PassRows) => void, choice: CandidateChoice) {
    this.#argmax = argmax;
    this.#choice = choice;
  }

  draft(recorder: Recorder, row: PassRows): void {
    this.#argmax(recorder, row);
    this.#choice.draft(recorder, row);
  }

  target(recorder: Recorder, rows: PassRows): void {
    this.#argmax(recorder, rows);
    this.#choice.target(recorder, rows);
  }

  shadow(recorder: Recorder, rows: PassRows, index: number): void {
    this.#argmax(recorder, rows);
    this.#choice.shadow(recorder, rows, index);
  }
}
