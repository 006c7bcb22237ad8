/** Greedy selection: the largest logit, found while the head computes it; no logit is written. */

import type { Head } from "../../forward/head.ts";
import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { CandidateChoice } from "./candidates.ts";
import type { DraftSelection, TargetSelection } from "./selection.ts";

export class GreedySelection implements DraftSelection, TargetSelection {
  readonly #head: Head;
  readonly #choice: CandidateChoice;

  /**
   * @param head the whole one; for drafts also that over hot ids
   * @param choice over its candidates
   */
  constructor(head: Head, choice: CandidateChoice) {
    this.#head = head;
    this.#choice = choice;
  }

  draft(recorder: Recorder, row: PassRows): void {
    this.#head.argmax(recorder, row);
    this.#choice.draft(recorder, row);
  }

  target(recorder: Recorder, rows: PassRows): void {
    this.#head.argmax(recorder, rows);
    this.#choice.target(recorder, rows);
  }

  shadow(recorder: Recorder, rows: PassRows, index: number): void {
    this.#head.argmax(recorder, rows);
    this.#choice.shadow(recorder, rows, index);
  }
}
