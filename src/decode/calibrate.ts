/** Times a few rounds when a model is loaded, so that plans have prices before the first text. */

import type { RoundOutcome, RoundPlan } from "./plan.ts";
import type { Scheduler } from "./scheduler.ts";

/**
 * Rounds of a plan that are timed together, submitted one behind the other: a browser tells when work is done in steps that
 * may be longer than a round. One alone where a round takes long.
 */
const ROUNDS_TOGETHER = 3;
const LONG_ROUND_MS = 50;
/** No rounds are begun when this many milliseconds have gone. */
const BUDGET_MS = 1500;
/** No round is tried that may take longer: a GPU that is busy for seconds freezes the screen, or is reset. */
const LONGEST_ROUND_MS = 200;
/** Any token: what a round takes does not depend on it. */
const PENDING = 0;

export interface CalibrationOptions {
  contextLength: number;
  /** In the order to be timed, plain decoding first; the draft lengths have been prepared. */
  plans: readonly RoundPlan[];
  observe: (outcome: RoundOutcome) => void;
  signal: AbortSignal | undefined;
}

/**
 * Runs the plans on an empty context and tells what a round of each took. Nothing of it stays.
 * @returns whether all of them were timed
 * @throws DeviceLostError | DisposedError | GpuError | the signal's reason
 */
export async function calibrate(
  scheduler: Scheduler,
  { contextLength, plans, observe, signal }: CalibrationOptions,
): Promise<boolean> {
  const [first] = plans;
  if (!first) return true;
  const selection = (await scheduler.prepare(plans))();
  const begun = performance.now();
  let together = ROUNDS_TOGETHER;
  const time = async (plan: RoundPlan): Promise<RoundOutcome> => {
    const rounds = Array.from({ length: together }, () => {
      // Each begins anew: where in the context a round stands makes little difference, the room it has does.
      scheduler.begin({ maxTokens: contextLength, contextLength, eosTokenIds: [] }, selection, {
        length: 0,
        pending: PENDING,
      });
      return scheduler.round(plan, 0);
    });
    const reports = await Promise.all(rounds.map(({ report }) => report));
    const { drafted, accepted, doneAt } = reports.at(-1)!;
    const milliseconds = (doneAt - rounds[0]!.submittedAt) / together;
    if (milliseconds > LONG_ROUND_MS) together = 1;
    return { plan, drafted, accepted, probabilities: [], shadows: [], milliseconds };
  };
  await time(first); // the first rounds of a device find everything cold
  let plainMs: number | undefined;
  for (const plan of plans) {
    signal?.throwIfAborted();
    if (performance.now() - begun > BUDGET_MS) return false;
    // A round of d drafts takes no longer than d + 1 plain ones, but for rows that cost more than one by one.
    if (plainMs !== undefined && (plan.draftLength + 1) * plainMs > LONGEST_ROUND_MS) return false;
    const outcome = await time(plan);
    plainMs ??= outcome.milliseconds;
    observe(outcome);
  }
  return true;
}
