/**
 * The model's first layers draft (LayerSkip, Elhoushi et al. 2024, section 4.3): each draft goes through layers [0, exitLayer),
 * the final norm and the head, and what they choose is the next row's token.
 *
 * Of a model that was not trained for it, an exit adapter makes what the head reads (src/forward/exit_adapter.ts); it has a
 * stream of its own, so that what was drafted stays final.
 *
 * With a tree, rows are added where the exit was unsure: its second choices as leaves beside the drafts (EAGLE-2, Li et al.
 * 2024, chooses them so for drafts of another kind).
 *
 * The early layers' keys, values and hidden states of the drafts are final: the verification goes on from them.
 */

import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import { RANGE_VERIFY } from "../../kernels/constants.ts";
import { Branch } from "../../kernels/drafting.ts";
import type { RoundPlan } from "../plan.ts";
import type { DraftSelection } from "../selection/selection.ts";
import type { DraftingKit, DraftRound, GpuDrafter } from "./drafter.ts";

/** Records what stands between the exit layer and the head, of a row. */
type BehindExit = (recorder: Recorder, row: PassRows) => void;

export class EarlyExitDrafter implements GpuDrafter {
  readonly #kit: DraftingKit;
  readonly #behindExit: BehindExit;
  readonly #branch: Branch;
  /** By where the best choices stand. */
  readonly #groups = new Map<GPUBuffer, (lane: number) => GPUBindGroup>();
  readonly joins = true;

  constructor(kit: DraftingKit, behindExit: BehindExit = () => {}) {
    this.#kit = kit;
    this.#behindExit = behindExit;
    this.#branch = new Branch(kit.device);
  }

  async prepare({ treeSize = 0 }: RoundPlan): Promise<void> {
    if (treeSize > 0) await this.#branch.prepare();
  }

  draft(recorder: Recorder, { plan, lane, lanes, length, selection }: DraftRound): void {
    const { draftLength, exitLayer, treeSize = 0 } = plan;
    for (let i = 0; i < draftLength; i++) {
      const row: PassRows = { range: i, count: lanes, end: length + i + 1, regime: "generated" };
      this.#kit.forward.forward(recorder, row, 0, exitLayer);
      this.#behindExit(recorder, row);
      selection.draft(recorder, row);
    }
    if (treeSize > 0) this.#addBranches(recorder, draftLength, length, selection, lane);
  }

  #addBranches(recorder: Recorder, draftLength: number, length: number, selection: DraftSelection, lane: number): void {
    const end = length + draftLength + 1;
    const drafted: PassRows = { range: RANGE_VERIFY, count: draftLength, end, regime: "generated" };
    const tops = selection.bestChoices?.(recorder, drafted);
    if (!tops) throw new Error("branches of a selection that does not tell its best choices");
    const { table, state } = this.#kit;
    const { proposal } = state;
    const { rows, ranges } = table;
    const groups =
      this.#groups.get(tops) ??
      state.perLane(({ settings }) => this.#branch.bind({ settings, tops, rows, ranges, proposal }));
    this.#groups.set(tops, groups);
    this.#branch.dispatch(recorder, groups(lane));
    state.graft(recorder, lane);
  }
}
