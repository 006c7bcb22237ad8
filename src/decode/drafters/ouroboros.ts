/**
 * Ouroboros (Zhao et al. 2024): behind the last draft of the early layers, phrases that may follow it are verified
 * in the same pass. Ours: the model's own early layers draft, and the phrases are a tree of Token Recycling's followers, which
 * hold what was refused and what was emitted lately; the paper keeps a pool of phrases by their first token.
 */

import type { Recorder } from "../../gpu/commands.ts";
import type { RoundPlan } from "../plan.ts";
import type { DraftRound, GpuDrafter } from "./drafter.ts";

export class OuroborosDrafter implements GpuDrafter {
  readonly #layers: GpuDrafter;
  readonly #phrases: GpuDrafter;

  /**
   * @param layers drafts the chain
   * @param phrases grows a tree on its last row
   */
  constructor(layers: GpuDrafter, phrases: GpuDrafter) {
    this.#layers = layers;
    this.#phrases = phrases;
  }

  async prepare(plan: RoundPlan): Promise<void> {
    await Promise.all([this.#layers.prepare(chainOf(plan)), this.#phrases.prepare(plan)]);
  }

  draft(recorder: Recorder, round: DraftRound): void {
    this.#layers.draft(recorder, { ...round, plan: chainOf(round.plan) });
    this.#phrases.draft(recorder, round);
  }
}

/** What the layers draft of a plan. */
function chainOf(plan: RoundPlan): RoundPlan {
  return { ...plan, treeSize: 0 };
}
