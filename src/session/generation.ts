/**
 * A generation: an async iterator over what each round emits, and the result of the whole.
 *
 * Nothing runs before the first part is asked for. Leaving the loop early ends the generation; the model is then free for
 * the next one.
 */

import type { RoundPlan, Scheduler } from "../decode/scheduler.ts";
import { NonFiniteLogitsError } from "../errors.ts";
import type { Device } from "../gpu/device.ts";
import { FAILED, RUNNING, STOPPED } from "../kernels/constants.ts";
import type { Report, RoundSettings } from "../kernels/layer_skip.ts";
import { StreamingDecoder } from "../text/streaming_decoder.ts";
import type { TextTokenizer } from "../text/tokenizer.ts";
import type {
  FinishReason,
  GenerationPart,
  GenerationResult,
  GenerationStats,
  Round,
  Token,
  TokenOrigin,
} from "../types.ts";

/** What a generation works with. */
export interface GenerationContext {
  device: Device;
  scheduler: Scheduler;
  tokenizer: TextTokenizer;
  /** Takes the model for this generation; throws when it is taken or gone. Returns how to give it back. */
  acquire: () => () => void;
}

/** What is asked of it, checked and complete. */
export interface GenerationRequest {
  promptIds: readonly number[];
  plan: RoundPlan;
  settings: RoundSettings;
  signal: AbortSignal | undefined;
}

/** Counters at one moment, to be subtracted from those at a later one. */
interface Counters {
  submits: number;
  readbacks: number;
  readbackBytes: number;
  dispatches: number;
}

/** What a generation has done so far. */
interface Tally {
  readonly ids: number[];
  readonly rounds: Round[];
  /** Why it ended; `abort` until it has. */
  finishReason: FinishReason;
  /** Counters when the prefill began, and when the rounds began. */
  prefillFrom: Counters;
  roundsFrom: Counters;
  prefillMs: number;
  decodeMs: number;
}

export class Generation implements AsyncIterable<GenerationPart> {
  readonly #context: GenerationContext;
  readonly #request: GenerationRequest;
  readonly #parts: AsyncGenerator<GenerationPart, void, void>;
  /** How it ended: `result()` tells, however it was consumed. */
  #outcome: { result: GenerationResult } | { error: unknown } | undefined;

  constructor(context: GenerationContext, request: GenerationRequest) {
    this.#context = context;
    this.#request = request;
    this.#parts = this.#run();
  }

  /**
   * One part a round, the prefill's first. Leaving the loop ends the generation, as an abort does; a generation is
   * iterated once.
   */
  [Symbol.asyncIterator](): AsyncIterator<GenerationPart, void, void> {
    return this.#parts;
  }

  /**
   * The whole result, after running what has not been iterated yet. After the loop was left early it is what there was
   * by then, with `finishReason: "abort"`.
   * @throws what the generation threw
   */
  async result(): Promise<GenerationResult> {
    while (!(await this.#parts.next()).done);
    if (this.#outcome && "error" in this.#outcome) throw this.#outcome.error;
    return this.#outcome?.result ?? this.#result(this.#newTally());
  }

  async *#run(): AsyncGenerator<GenerationPart, void, void> {
    const { scheduler, tokenizer, acquire } = this.#context;
    const { promptIds, plan, settings, signal } = this.#request;
    const tally = this.#newTally();
    let release: (() => void) | undefined;
    try {
      release = acquire();
      const text = new StreamingDecoder(tokenizer, promptIds);
      await scheduler.prepare(promptIds.length, plan);

      tally.prefillFrom = this.#counters();
      const prefillStart = performance.now();
      let report = await scheduler.prefill(promptIds, settings, () => signal?.aborted ?? false);
      tally.prefillMs = performance.now() - prefillStart;
      tally.roundsFrom = this.#counters();

      let round: Round | undefined; // the prefill is none
      while (report) {
        const ended = finishReasonOf(report);
        if (ended) tally.finishReason = ended;
        tally.ids.push(...report.ids);
        yield part(report, text, ended !== undefined, round);
        if (ended || signal?.aborted) break;

        // Only the rounds' own time: a consumer that takes its time with a part does not make decoding look slow.
        const roundStart = performance.now();
        report = await scheduler.round(plan, report.length);
        tally.decodeMs += performance.now() - roundStart;
        round = { drafted: report.drafted, accepted: report.accepted };
        tally.rounds.push(round);
      }
    } catch (error) {
      this.#outcome = { error };
      throw error;
    } finally {
      release?.();
      this.#outcome ??= { result: this.#result(tally) };
    }
  }

  #newTally(): Tally {
    const now = this.#counters();
    return {
      ids: [],
      rounds: [],
      finishReason: "abort",
      prefillFrom: now,
      roundsFrom: now,
      prefillMs: 0,
      decodeMs: 0,
    };
  }

  #counters(): Counters {
    const { device, scheduler } = this.#context;
    const { submits, readbacks, readbackBytes } = device;
    return { submits, readbacks, readbackBytes, dispatches: scheduler.dispatches };
  }

  #result(tally: Tally): GenerationResult {
    const { ids, rounds, finishReason } = tally;
    const text = this.#context.tokenizer.decode(ids);
    return { promptIds: [...this.#request.promptIds], ids, text, finishReason, rounds, stats: this.#stats(tally) };
  }

  #stats({ ids, rounds, prefillFrom, roundsFrom, prefillMs, decodeMs }: Tally): GenerationStats {
    const now = this.#counters();
    const { pipelines } = this.#context.device;
    const drafted = rounds.reduce((sum, round) => sum + round.drafted, 0);
    const accepted = rounds.reduce((sum, round) => sum + round.accepted, 0);
    return {
      tokens: ids.length,
      prefillMs,
      decodeMs,
      tokensPerSecond: decodeMs > 0 ? ((ids.length - 1) * 1000) / decodeMs : 0,
      drafted,
      accepted,
      acceptanceRate: drafted > 0 ? accepted / drafted : 0,
      submits: now.submits - roundsFrom.submits,
      readbacks: now.readbacks - roundsFrom.readbacks,
      readbackBytes: now.readbackBytes - roundsFrom.readbackBytes,
      dispatches: now.dispatches - roundsFrom.dispatches,
      prefillSubmits: roundsFrom.submits - prefillFrom.submits,
      pipelines: pipelines.count,
      compileMs: pipelines.compileMs,
    };
  }
}

/** @throws NonFiniteLogitsError when the model produced no numbers to choose from */
function finishReasonOf(report: Report): FinishReason | undefined {
  if (report.finished === FAILED) throw new NonFiniteLogitsError();
  if (report.finished === RUNNING) return undefined;
  return report.finished === STOPPED ? "stop" : "length";
}

/** The stream's view of a report. The last part carries what the decoder still held back. */
function part(report: Report, text: StreamingDecoder, last: boolean, round: Round | undefined): GenerationPart {
  const tokens = report.ids.map((id, i): Token => ({ id, text: text.push(id), origin: originOf(report, i) }));
  const lastToken = tokens.at(-1);
  if (last && lastToken) lastToken.text += text.flush();
  return {
    text: tokens.map((token) => token.text).join(""),
    ids: report.ids,
    tokens,
    draftIds: report.draftIds,
    ...(round && { round }),
  };
}

function originOf({ drafted, accepted }: Report, index: number): TokenOrigin {
  if (drafted === 0) return "plain";
  if (index < accepted) return "accepted";
  return accepted === drafted ? "bonus" : "correction";
}
