/**
 * What a generation has done so far: tokens, rounds, times and counts. Where another device has taken over, the counts go on: what it took
 * to get there is none of them.
 */

import type { DecodedRound } from "../decode/decoding.ts";
import type { PendingRound } from "../decode/pending_round.ts";
import { drafterOf } from "../decode/plan.ts";
import type { FinishReason, GenerationPart, GenerationStats, PlanUse, Round, Token } from "../types.ts";
import type { Engine } from "./engine.ts";

const COUNTERS = ["submits", "readbacks", "readbackBytes", "dispatches"] as const;

/** Counters of an engine at one moment, to be subtracted from those at a later one. */
type Counters = Readonly<Record<(typeof COUNTERS)[number], number>>;

export class Tally {
  readonly ids: number[] = [];
  readonly tokens: Token[] = [];
  readonly rounds: Round[] = [];
  /** The text as it was streamed. */
  shown = "";
  /** Why it ended; `abort` until it has. */
  finishReason: FinishReason = "abort";
  /** How often another device took over. */
  recoveries = 0;
  /** When the first token was there, by `performance.now()`. */
  firstAt: number | undefined;
  /** What computes it; undefined until something does. */
  #engine: Engine | undefined;
  #begunAt = performance.now();
  /** Tokens of the prompt that were in the cache. */
  #reused = 0;
  /** Counters when the prefill began, and when the rounds did: a prompt may be stopped before. */
  #prefillFrom = countersOf(undefined);
  #roundsFrom: Counters | undefined;
  #prefillMs = 0;
  #decodeMs = 0;

  /** The prompt begins. @param reused its tokens that are in the cache */
  begin(engine: Engine, reused: number): void {
    this.#engine = engine;
    this.#reused = reused;
    this.#prefillFrom = countersOf(engine);
    this.#begunAt = performance.now();
  }

  /** Rounds begin behind a prompt whose own readback is still to come. */
  beginRounds(engine: Engine, { readbackBytes }: PendingRound): void {
    const now = countersOf(engine);
    this.#roundsFrom = { ...now, readbacks: now.readbacks + 1, readbackBytes: now.readbackBytes + readbackBytes };
  }

  /** Rounds go on, on another engine. */
  goOn(engine: Engine): void {
    const [before, now] = [countersOf(this.#engine), countersOf(engine)];
    const moved = (from: Counters) => counters((name) => from[name] + now[name] - before[name]);
    this.#prefillFrom = moved(this.#prefillFrom);
    this.#roundsFrom = this.#roundsFrom && moved(this.#roundsFrom);
    this.#engine = engine;
  }

  /** Adds a round, or the end of the prompt, with what of it is emitted, which is told of its round. */
  add({ plan, decision, report, submittedAt, startedAt, doneAt }: DecodedRound, part: GenerationPart): void {
    this.ids.push(...part.ids);
    this.tokens.push(...part.tokens);
    this.shown += part.text;
    const begunAt = this.#begunAt;
    if (this.firstAt === undefined) {
      this.firstAt = doneAt;
      this.#prefillMs = doneAt - begunAt;
      return;
    }
    // Only the rounds' own time: a consumer that waits for something meanwhile does not make decoding look slow.
    this.#decodeMs += doneAt - startedAt;
    part.round = {
      drafted: report.drafted,
      accepted: Math.min(report.accepted, part.ids.length),
      drafter: drafterOf(plan),
      exitLayer: plan.exitLayer,
      draftLength: plan.draftLength,
      treeSize: plan.treeSize ?? 0,
      submittedMs: submittedAt - begunAt,
      startMs: startedAt - begunAt,
      endMs: doneAt - begunAt,
      ...(report.probabilities.length > 0 && { draftProbabilities: report.probabilities }),
      ...(decision && { decision }),
    };
    this.rounds.push(part.round);
  }

  stats(promptTokens: number): GenerationStats {
    const { ids, rounds, recoveries } = this;
    const [prefillMs, decodeMs] = [this.#prefillMs, this.#decodeMs];
    const now = countersOf(this.#engine);
    const roundsFrom = this.#roundsFrom ?? now;
    const sinceRounds = counters((name) => Math.max(0, now[name] - roundsFrom[name])); // the prompt's readback is still to come
    const pipelines = this.#engine?.device.pipelines;
    const drafted = rounds.reduce((sum, round) => sum + round.drafted, 0);
    const accepted = rounds.reduce((sum, round) => sum + round.accepted, 0);
    const prices = rounds.at(-1)?.decision?.prices;
    return {
      tokens: ids.length,
      promptTokens,
      reusedTokens: this.#reused,
      ...{ prefillMs, decodeMs },
      tokensPerSecond: decodeMs > 0 ? ((ids.length - 1) * 1000) / decodeMs : 0,
      ...{ drafted, accepted },
      acceptanceRate: drafted > 0 ? accepted / drafted : 0,
      plans: planUses(rounds),
      ...(prices && { prices }),
      ...sinceRounds,
      prefillSubmits: roundsFrom.submits - this.#prefillFrom.submits,
      pipelines: pipelines?.count ?? 0,
      compileMs: pipelines?.compileMs ?? 0,
      recoveries,
    };
  }
}

function counters(count: (name: keyof Counters) => number): Counters {
  return Object.fromEntries(COUNTERS.map((name) => [name, count(name)])) as Record<keyof Counters, number>;
}

function countersOf(engine: Engine | undefined): Counters {
  if (!engine) return counters(() => 0);
  const { submits, readbacks, readbackBytes } = engine.device;
  return { submits, readbacks, readbackBytes, dispatches: engine.scheduler.dispatches };
}

/** The plans of rounds, the most used first. */
function planUses(rounds: readonly Round[]): PlanUse[] {
  const uses = new Map<string, PlanUse>();
  for (const { drafter, exitLayer, draftLength, treeSize, decision } of rounds) {
    const key = `${drafter}/${exitLayer}/${draftLength}/${treeSize}`;
    const use = uses.get(key) ?? { drafter, exitLayer, draftLength, treeSize, rounds: 0, reasons: {} };
    uses.set(key, use);
    use.rounds++;
    if (decision) use.reasons[decision.reason] = (use.reasons[decision.reason] ?? 0) + 1;
  }
  return [...uses.values()].sort((a, b) => b.rounds - a.rounds);
}
