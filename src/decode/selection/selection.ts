/**
 * Selection: how a round turns hidden states into ids. Draft and target may select differently; whatever the draft does, the
 * text is the target's.
 */

import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";

export interface DraftSelection {
  /** Records the choice of a draft from the exit hidden state of its row: the token of the next row. */
  draft(recorder: Recorder, row: PassRows): void;
  /** Records the best choices of `rows`, which have drafted, into the buffer that it returns (shaders/drafting/exit_tops.wgsl). */
  bestChoices?(recorder: Recorder, rows: PassRows): GPUBuffer;
}

export interface TargetSelection {
  /** Records the full model's choice after each of `rows`. */
  target(recorder: Recorder, rows: PassRows): void;
  /** Records what a shadow exit chooses after each of `rows`, which have come as far as that exit. */
  shadow(recorder: Recorder, rows: PassRows, index: number): void;
  /** Records what follows the acceptance of `rows`, where anything does. */
  accepted?(recorder: Recorder, rows: PassRows): void;
}

/** What a generation selects with. */
export interface Selection {
  readonly draft: DraftSelection;
  /** Drafts from what the exit adapter has made; where rounds use it. */
  readonly exitDraft?: DraftSelection | undefined;
  readonly target: TargetSelection;
  /** The same target, of rounds that nothing is learned from; absent where learning costs no head. */
  readonly unwatched?: TargetSelection;
  /** Texts that select alike in this may share a round: what is recorded for one is right for all their rows. Absent: none. */
  readonly joins?: "greedy" | "sampled" | undefined;
  /** The target is the largest logit, as it is. */
  readonly largestLogit: boolean;
  /** Where the target has been chosen, the logits of its rows are in the head's buffer. */
  readonly leavesLogits: boolean;
  /** `[ROW_CAPACITY]` f32: how probable each draft was under the draft's own distribution, where that is computed. */
  readonly probabilities?: GPUBuffer;
  /** `[ROW_CAPACITY]` LogProbs of the targets, where they are wanted, with so many alternatives. */
  readonly logProbs?: { readonly buffer: GPUBuffer; readonly top: number };
}
