/**
 * The model's first layers draft (LayerSkip, Elhoushi et al. 2024, section 4.1): each draft goes through layers [0, exitLayer),
 * the final norm and the head, and what they choose is the next row's token.
 *
 * The early layers' keys, values and hidden states of the drafts are final: the verification goes on from them.
 */

import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { DraftingKit, DraftRound, GpuDrafter } from "./drafter.ts";

export class EarlyExitDrafter implements GpuDrafter {
  readonly #kit: DraftingKit;

  constructor(kit: DraftingKit) {
    this.#kit = kit;
  }

  async prepare(): Promise<void> {} // nothing beyond what verification needs

  draft(recorder: Recorder, { plan, length, selection }: DraftRound): void {
    for (let i = 0; i < plan.draftLength; i++) {
      const row: PassRows = { range: i, count: 1, end: length + i + 1, regime: "generated" };
      this.#kit.forward.forward(recorder, row, 0, plan.exitLayer);
      selection.draft(recorder, row);
    }
  }
}
