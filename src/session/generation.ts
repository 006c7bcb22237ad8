/// <reference lib="esnext.disposable" preserve="true" />
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

/** What a generation works with. @internal */
export interface GenerationContext {
  device: Device;
  scheduler: Scheduler;
  tokenizer: TextTokenizer;
  /** Takes the model for this generation; throws when it is taken or gone. Returns how to give it back. */
  acquire: () => () => void;
}

/** What is asked of it, checked and complete. @internal */
export interface GenerationRequest {
  promptIds: readonly number[];
  /** The new text is an answer and begins on its own; else it continues the prompt's. */
  answers: boolean;
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
  /** Parts that `result()` ran and no loop has taken yet. */
  readonly #untaken: GenerationPart[] = [];
  /** The part under way. A loop and `result()` wait for the same one, so that parts keep their order. */
  #pulling: Promise<void> | undefined;
  /** How it ended: `result()` tells, however it was consumed. */
  #outcome: { result: GenerationResult } | { error: unknown } | undefined;

  /** @internal Use `model.generate`. */
  constructor(context: GenerationContext, request: GenerationRequest) {
    this.#context = context;
    this.#request = request;
    this.#parts = this.#run();
  }

  /**
   * One part a round, the prefill's first. Leaving the loop ends the generation, as an abort does. A generation runs once:
   * several loops share its parts.
   */
  [Symbol.asyncIterator](): AsyncIterator<GenerationPart, void, void> {
    const done = { done: true, value: undefined } as const;
    return {
      next: async () => {
        while (this.#untaken.length === 0 && !this.#outcome) await this.#pull();
        const value = this.#untaken.shift();
        if (value) return { done: false, value };
        if (this.#outcome && "error" in this.#outcome) throw this.#outcome.error;
        return done;
      },
      return: async () => {
        await this.#end();
        return done;
      },
    };
  }

  /**
   * The whole result, after running what has not run yet. After an abort, or when a loop was left early, it is what there
   * was by then, with `finishReason: "abort"`.
   * @throws what the generation threw
   */
  async result(): Promise<GenerationResult> {
    while (!this.#outcome) await this.#pull();
    if ("error" in this.#outcome) throw this.#outcome.error;
    return this.#outcome.result;
  }

  /** Ends the generation and frees the model, whatever state it is in. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }

  /** Runs up to the next part. */
  #pull(): Promise<void> {
    this.#pulling ??= this.#parts
      .next()
      .then(
        (step) => {
          if (step.done) this.#outcome ??= { result: this.#result(this.#newTally()) };
          else this.#untaken.push(step.value);
        },
        (error: unknown) => {
          this.#outcome ??= { error };
        },
      )
      .finally(() => {
        this.#pulling = undefined;
      });
    return this.#pulling;
  }

  /** Waits for the round that runs, and lets nothing follow it. */
  async #end(): Promise<void> {
    await this.#parts.return();
    this.#outcome ??= { result: this.#result(this.#newTally()) };
  }

  async *#run(): AsyncGenerator<GenerationPart, void, void> {
    const { scheduler, tokenizer, acquire } = this.#context;
    const { promptIds, answers, settings, signal } = this.#request;
    const tally = this.#newTally();
    // An abort ends the generation also while nobody asks for the next part.
    const end = () => void this.#end();
    let release: (() => void) | undefined;
    try {
      release = acquire();
      signal?.addEventListener("abort", end, { once: true });
      const text = new StreamingDecoder(tokenizer, answers ? [] : promptIds);
      const plan = await scheduler.prepare(this.#request.plan);

      tally.prefillFrom = this.#counters();
      const prefillStart = performance.now();
      let report = await scheduler.prefill(
        promptIds,
        { ...settings, draftLength: plan.draftLength },
        () => signal?.aborted ?? false,
      );
      tally.prefillMs = performance.now() - prefillStart;
      tally.roundsFrom = this.#counters();

      let round: Round | undefined; // the prefill is none
      while (report) {
        const { finished } = report;
        if (finished !== RUNNING) tally.finishReason = finished === STOPPED ? "stop" : "length";
        tally.ids.push(...report.ids);
        if (report.ids.length > 0) yield part(report, text, finished !== RUNNING, round);
        if (finished === FAILED) throw new NonFiniteLogitsError();
        if (finished !== RUNNING || signal?.aborted) break;

        // Only the rounds' own time: a consumer that takes its time with a part does not make decoding look slow.
        const roundStart = performance.now();
        report = await scheduler.round(plan, report.length);
        tally.decodeMs += performance.now() - roundStart;
        round = { drafted: report.drafted, accepted: report.accepted };
        tally.rounds.push(round);
      }
      this.#outcome = { result: this.#result(tally) };
    } catch (error) {
      this.#outcome = { error };
    } finally {
      signal?.removeEventListener("abort", end);
      release?.();
      this.#outcome ??= { result: this.#result(tally) }; // left early
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
