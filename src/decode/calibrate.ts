/** Times a few rounds when a model is loaded, so that plans have prices before the first text. */

import type { PendingRound } from "./pending_round.ts";
import type { RoundOutcome, RoundPlan } from "./plan.ts";
import type { Scheduler } from "./scheduler.ts";

/** Rounds whose time is not told: the first ones of a device find everything cold. */
const WARM_UP = 2;
/** No rounds are begun when this many milliseconds have gone. */
const BUDGET_MS = 1500;
/** Rounds under way at a time, as in decoding. */
const IN_FLIGHT = 2;
/** Any token: what a round takes does not depend on it. */
const PENDING = 0;

export interface CalibrationOptions {
  contextLength: number;
  /** In the order to be timed; the draft lengths have been prepared. */
  plans: readonly RoundPlan[];
  observe: (outcome: RoundOutcome) => void;
  signal: AbortSignal | undefined;
}

/**
 * Runs the plans on an empty context, one ahead of what has been read, and tells what each took. Nothing of it stays.
 * @throws DeviceLostError | DisposedError | GpuError | the signal's reason
 */
export async function calibrate(
  scheduler: Scheduler,
  { contextLength, plans, observe, signal }: CalibrationOptions,
): Promise<void> {
  const [first] = plans;
  if (!first) return;
  const selection = (await scheduler.prepare(plans.map(({ draftLength }) => draftLength)))();
  const begun = performance.now();
  const queue = [...Array<RoundPlan>(WARM_UP).fill(first), ...plans];
  const underWay: PendingRound[] = [];
  let lastDone = 0;
  let read = 0;
  try {
    while (queue.length > 0 || underWay.length > 0) {
      signal?.throwIfAborted();
      if (performance.now() - begun > BUDGET_MS) queue.length = 0;
      while (queue.length > 0 && underWay.length < IN_FLIGHT) {
        // Each begins anew: where in the context a round stands makes little difference, the room it has does.
        scheduler.begin({ maxTokens: contextLength, contextLength, eosTokenIds: [] }, selection, 0, PENDING);
        underWay.push(scheduler.round(queue.shift()!, 0));
      }
      const next = underWay.shift();
      if (!next) return;
      const { drafted, accepted, doneAt } = await next.report;
      const milliseconds = doneAt - Math.max(next.submittedAt, lastDone);
      lastDone = doneAt;
      if (read++ >= WARM_UP) {
        observe({ plan: next.plan, drafted, accepted, probabilities: [], shadows: [], milliseconds });
      }
    }
  } finally {
    await Promise.allSettled(underWay.map(({ report }) => report));
  }
}
