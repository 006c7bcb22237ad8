/**
 * The rounds of a generation, one ahead of what has been read: while the host reads round n, round n + 1 is computed from the
 * state on the GPU.
 *
 * A round that was submitted before the host knew of the end is surplus: the GPU makes it a no-op where the end was its own
 * (EOS, length), and where the host's (a stop string, an abort) its tokens are dropped with the state it left.
 */

import { abortable } from "../abortable.ts";
import { NONE, RUNNING } from "../kernels/constants.ts";
import type { DraftContext, DraftOutcome, HostDrafter } from "./drafters/host_drafter.ts";
import type { PendingRound } from "./pending_round.ts";
import {
  type Controller,
  drafterOf,
  draftsOf,
  type PlanDecision,
  type RoundOutcome,
  type RoundPlan,
  type ShadowAgreement,
} from "./plan.ts";
import type { AskedRound, RoundQueue } from "./round_queue.ts";
import type { RoundReport } from "./round_report.ts";
import type { Limits } from "./scheduler.ts";

/** Rounds that may be under way at a time: the one that is read next, and the one behind it. */
const IN_FLIGHT = 2;

/**
 * Two rounds that are heard of within this many milliseconds were heard of together: the host was late, one time is too long
 * and the other too short. No round of a model is so short.
 */
const HEARD_TOGETHER_MS = 0.15;
/** A reader that keeps the host this long may have kept it from hearing of a round. */
const LONG_HOLD_MS = 4;

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

/** A text that is decoded. */
export interface DecodingOptions {
  lane: number;
  promptIds: readonly number[];
  /** What has been emitted behind the prompt before, where it goes on with rounds: all but the last is committed. */
  emittedIds?: readonly number[];
  limits: Limits;
  controller: Controller;
  /** Ids there are. */
  vocabSize: number;
  /** Drafts the rounds that the controller plans for `own`. */
  drafter?: HostDrafter | undefined;
  /** Ends the wait for a drafter on the host; rounds are ended by whoever reads. */
  signal?: AbortSignal | undefined;
  /** Told of each round a round later than the controller, with its time only where that can be right. */
  observe: (outcome: RoundOutcome) => void;
}

/**
 * Reads the end of the prompt, unless the text goes on, then rounds, until the generation is finished or whoever reads leaves. Rounds under way are
 * waited for, not told, when it is left.
 * @throws DeviceLostError | DisposedError | GpuError | what a drafter on the host throws
 */
export async function* decode(
  rounds: RoundQueue,
  prefill: PendingRound | undefined,
  { lane, promptIds, emittedIds = [], limits, controller, vocabSize, drafter, signal, observe }: DecodingOptions,
): AsyncGenerator<DecodedRound, void, void> {
  const { maxTokens } = limits;
  const underWay: UnderWay[] = prefill ? [prefill] : [];
  const ids = [...promptIds, ...emittedIds];
  controller.tell?.(ids);
  let length = prefill ? ids.length : ids.length - 1;
  let lastDone = 0;
  let resumedAt = 0;
  let heldMs = 0;
  let unobserved: RoundOutcome | undefined;
  /** Of a drafter on the host, which waits until all rounds before have been read. */
  let waiting: RoundPlan | undefined;
  /** The next round, until it is submitted: other texts' work may be before it. */
  let asked: (AskedRound & { made: Pick<UnderWay, "decision" | "askedAt"> }) | undefined;
  try {
    for (;;) {
      // Each round emits a token at least. What could only be asked for when nothing is wanted is not submitted.
      if (!asked && underWay.length < IN_FLIGHT && ids.length - promptIds.length + underWay.length < maxTokens) {
        const plan: RoundPlan = waiting ?? controller.plan();
        const isOwn = drafterOf(plan) === "own";
        waiting = isOwn && underWay.length > 0 ? plan : undefined;
        if (!waiting) {
          const askedAt = performance.now();
          const context = draftContext(ids, promptIds.length, plan, vocabSize);
          const proposal = isOwn ? await proposed(drafter!, context, signal) : undefined;
          if (proposal === ABORTED) return;
          // The prompt's end commits no token beyond the prompt; a round commits one more than it drafts, at most.
          const ahead = underWay.filter((pending) => pending !== prefill);
          const atMost = ahead.reduce((sum, pending) => sum + draftsOf(pending.plan) + 1, length);
          const made = { decision: controller.decision, ...(isOwn && { askedAt }) };
          asked = { ...rounds.ask({ lane, plan, length: atMost, proposal }), made };
        }
      }
      // What has been computed is read meanwhile.
      const oldest = underWay[0]?.report.then(
        () => undefined,
        () => undefined,
      );
      const round = asked && (await (oldest ? Promise.race([asked.submitted, oldest]) : asked.submitted));
      if (asked && round) {
        underWay.push({ ...round, ...asked.made });
        asked = undefined;
        continue;
      }
      const { plan, decision, submittedAt, askedAt = submittedAt, texts, report: pending } = underWay[0]!;
      const { doneAt, ...report } = await pending;
      underWay.shift();
      const isRound = plan !== prefill?.plan;
      const startedAt = Math.max(askedAt, lastDone);
      lastDone = doneAt;
      ids.push(...report.ids);
      length = report.length;
      controller.tell?.(report.ids);
      if (isRound) {
        const took = doneAt - startedAt;
        const isTogether = took < HEARD_TOGETHER_MS;
        const isLate = heldMs > LONG_HOLD_MS && doneAt < resumedAt + HEARD_TOGETHER_MS;
        if (unobserved) observe(isTogether ? { ...unobserved, milliseconds: undefined } : unobserved);
        const outcome = outcomeOf(plan, report, isTogether || isLate || texts > 1 ? undefined : took);
        controller.observe(outcome);
        if (drafterOf(plan) === "own") await drafter?.observe?.(draftOutcome(report));
        unobserved = outcome;
      }
      const yieldedAt = performance.now();
      yield { plan, decision, report, submittedAt, startedAt, doneAt };
      resumedAt = performance.now();
      heldMs = resumedAt - yieldedAt;
      if (report.finished !== RUNNING) return;
    }
  } finally {
    const surplus = asked && !asked.withdraw() ? [asked.submitted.then(({ report }) => report)] : [];
    await Promise.allSettled([...underWay.map(({ report }) => report), ...surplus]);
  }
}

/** A round that has been submitted, and who asked for it. */
interface UnderWay extends PendingRound {
  readonly decision?: PlanDecision | undefined;
  /** When a drafter on the host was asked: its time is the round's. */
  readonly askedAt?: number;
}

const ABORTED = Symbol("aborted");

/** What a drafter proposes; one that never answers does not hold a generation that is aborted. */
async function proposed(drafter: HostDrafter, context: DraftContext, signal: AbortSignal | undefined) {
  try {
    return await abortable(Promise.resolve(drafter.propose(context)), signal);
  } catch (error) {
    if (signal?.aborted) return ABORTED;
    throw error;
  }
}

function draftContext(
  ids: readonly number[],
  promptLength: number,
  { treeSize = 0 }: RoundPlan,
  vocabSize: number,
): DraftContext {
  return { ids, promptLength, treeSize, vocabSize };
}

function draftOutcome({ ids, path, accepted, draftIds, draftParents }: RoundReport): DraftOutcome {
  const drafts = draftIds.map((id, i) => ({ id, parent: draftParents[i]! - 1 }));
  const kept = path.filter((row) => row > 0).map((row) => row - 1);
  // A draft that ended the text was accepted, and nothing was chosen after it.
  const last = drafts.findIndex(({ id, parent }) => id === ids.at(-1) && parent === path.at(-1)! - 1);
  return { drafts, accepted: kept.length < accepted && last >= 0 ? [...kept, last] : kept, ids };
}

function outcomeOf(plan: RoundPlan, report: RoundReport, milliseconds: number | undefined): RoundOutcome {
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
