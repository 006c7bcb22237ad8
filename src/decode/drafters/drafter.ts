/**
 * Drafters: who makes the rows of a round that the full model then checks.
 *
 * A drafter can only propose. What it leaves is a tree of rows behind the pending token; which of them are the text, the
 * verification alone decides. There are two kinds: those that record their work on the GPU, where a round goes on without
 * waiting for the host, and those on the host (host_drafter.ts).
 */

import type { Forward } from "../../forward/forward.ts";
import type { RowTable } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { Device } from "../../gpu/device.ts";
import type { RoundPlan } from "../plan.ts";
import type { RoundState } from "../round_state.ts";
import type { DraftSelection } from "../selection/selection.ts";

/** What drafters work with. */
export interface DraftingKit {
  readonly device: Device;
  readonly forward: Forward;
  readonly table: RowTable;
  readonly state: RoundState;
}

/** A round that is being recorded. */
export interface DraftRound {
  readonly plan: RoundPlan;
  /** The text's. A round of several has as many rows a step, at most: `lanes`. */
  readonly lane: number;
  readonly lanes: number;
  /** Committed tokens before it, at most. */
  readonly length: number;
  /** How drafts are chosen from hidden states. */
  readonly selection: DraftSelection;
}

export interface GpuDrafter {
  /** Compiles and allocates what rounds of a plan need. */
  prepare(plan: RoundPlan): Promise<void>;
  /** Whether it drafts for several texts in one round: all that it does is the same for each of their rows. */
  readonly joins?: boolean;
  /** A text begins whose prompt has so many tokens; its chunks follow. */
  begin?(promptLength: number, lane: number): void;
  /** A model of the drafter's own, which the prompt goes through too. */
  readonly forward?: Forward;
  /** Records what follows the acceptance of a round of its own. */
  accepted?(recorder: Recorder, lane: number): void;
  /** A round of another drafter has been recorded, which commits so many tokens at most. */
  missed?(tokens: number, lane: number): void;
  /**
   * Records, before a round is opened, what it has missed: all before a round of its `own`, else where it is far behind.
   * `length` tokens are committed, at most.
   */
  catchUp?(recorder: Recorder, length: number, own: boolean, lane: number): void;
  /** Records the drafting. The pending token's row is there; what it adds are rows that continue it. */
  draft(recorder: Recorder, round: DraftRound): void;
}
