/**
 * When to try what is not the best: one probe at a time, and twice as long until the next one after each that failed
 * (exponential back-off). Ours.
 */

import type { RoundOutcome, RoundPlan } from "../plan.ts";

import { planKey } from "./price_features.ts";

/** Rounds between two probes, at first and at most. */
const FIRST_WAIT = 4;
const LONGEST_WAIT = 64;

export class Probing {
  #wait = FIRST_WAIT;
  #roundsSince = 0;
  /** Planned, not yet reported. */
  #probe: RoundPlan | undefined;

  get isDue(): boolean {
    return this.#probe === undefined && this.#roundsSince >= this.#wait;
  }

  planned(plan: RoundPlan, isProbe: boolean): void {
    this.#roundsSince = isProbe ? 0 : this.#roundsSince + 1;
    if (isProbe) this.#probe = plan;
  }

  /**
   * Whether the round was a probe that worked: no draft of a chain was refused, a tree saved time. One without drafts changes
   * nothing.
   */
  succeeded({ plan, drafted, accepted }: RoundOutcome, saved: number): boolean {
    if (!this.#probe || planKey(plan) !== planKey(this.#probe)) return false;
    this.#probe = undefined;
    if (drafted === 0) return false;
    const isWorking = plan.treeSize ? saved > 0 : accepted === drafted;
    if (!isWorking) this.#wait = Math.min(LONGEST_WAIT, this.#wait * 2);
    return isWorking;
  }
}
