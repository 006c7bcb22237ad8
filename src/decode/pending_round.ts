/** A round, or the end of a prompt, that has been submitted. */

import type { RoundPlan } from "./plan.ts";
import type { RoundReport } from "./round_report.ts";

export interface PendingRound {
  readonly plan: RoundPlan;
  /** `performance.now()` at its submission. */
  readonly submittedAt: number;
  readonly readbackBytes: number;
  /** Texts that were generated at that time: its time is its own only where there was one. */
  readonly texts: number;
  /** What it did, and when that was known. Rejects where the device failed. */
  readonly report: Promise<RoundReport & { readonly doneAt: number }>;
}
