/**
 * The rounds of a generation, one ahead of what has been read: while the host reads round n, round n + 1 is computed from the
 * state on the GPU.
 *
 * A round that was submitted before the host knew of the end is surplus: the GPU makes it a no-op where the end was its own
 * (EOS, length), and where the host's (a stop string, an abort) its tokens are dropped with the state it left.
 */

import { NONE, RUNNING } from "../kernels/constants.ts";
import type { PendingRound } from "./pending_round.ts";
import type { Controller, PlanDecision, RoundOutcome, RoundPlan, ShadowAgreement } from "./plan.ts";
import type { RoundReport } from "./round_report.ts";
import type { Limits, Scheduler } from "./scheduler.ts";

/** Rounds that may be under way at a time: the one that is read next, and the one behind it. */
const IN_FLIGHT = 2;

/** A round that has been read; the first is the end of the prompt. */
export interface DecodedRound {
  plan: RoundPlan;
  decision: PlanDecision | undefined;
  report: RoundReport;
  /** `performance.now()` when it was submitted, when it could begin on the GPU, and when it was read. */
  submittedAt: number;
  startedAt: number;
  doneAt: number;
}

/**
 * Reads the end of the prompt, then rounds, until the generation is finished or whoever reads leaves. Rounds under way are
 * waited for, not told, when it is left.
 * @param observe is told of each round too, before the controller
 * @throws DeviceLostError | DisposedError | GpuError
 */
export async function* decode(
  scheduler: Scheduler,
  prefill: PendingRound,
  promptLength: number,
  { maxTokens }: Limits,
  controller: Controller,
  observe: (outcome: RoundOutcome) => void,
): AsyncGenerator<DecodedRound, void, void> {
  const underWay: (PendingRound & { decision?: PlanDecision | undefined })[] = [prefill];
  let emitted = 0;
  let length = promptLength;
  let lastDone = 0;
  try {
    for (;;) {
      // Each round emits a token at least. What could only be asked for when nothing is wanted is not submitted.
      while (underWay.length < IN_FLIGHT && emitted + underWay.length < maxTokens) {
        // The prompt's end commits no token beyond the prompt; a round commits one more than it drafts, at most.
        const ahead = underWay.filter((pending) => pending !== prefill);
        const atMost = ahead.reduce((sum, { plan }) => sum + plan.draftLength + 1, length);
        const plan = controller.plan();
        underWay.push({ ...scheduler.round(plan, atMost), decision: controller.decision });
      }
      const { plan, decision, submittedAt, report: pending } = underWay[0]!;
      const { doneAt, ...report } = await pending;
      underWay.shift();
      const isRound = plan !== prefill.plan;
      const startedAt = Math.max(submittedAt, lastDone);
      lastDone = doneAt;
      emitted += report.ids.length;
      length = report.length;
      if (isRound) {
        const outcome = outcomeOf(plan, report, doneAt - startedAt);
        observe(outcome);
        controller.observe(outcome);
      }
      yield { plan, decision, report, submittedAt, startedAt, doneAt };
      if (report.finished !== RUNNING) return;
    }
  } finally {
    await Promise.allSettled(underWay.map(({ report }) => report));
  }
}

function outcomeOf(plan: RoundPlan, report: RoundReport, milliseconds: number): RoundOutcome {
  const { drafted, accepted, probabilities } = report;
  return { plan, drafted, accepted, probabilities, shadows: agreements(plan, report), milliseconds };
}

/** Rows whose context was accepted are those whose target was emitted. */
function agreements({ shadowExits = [] }: RoundPlan, { ids, shadowIds }: RoundReport): ShadowAgreement[] {
  return shadowExits.map((exitLayer, i) => ({
    exitLayer,
    agreed: ids.filter((id, row) => id !== NONE && shadowIds[i]?.[row] === id).length,
    of: ids.length,
  }));
}
