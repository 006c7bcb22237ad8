/**
 * A generation: an async iterator over what each round emits, and the result of the whole.
 *
 * Nothing runs before the first part is asked for. Leaving the loop early ends the generation; the model is then free for
 * the next one.
 */

import type { Scheduler } from "../decode/scheduler.ts";
import type { RoundPlan } from "../decode/scheduler.ts";
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

export class Generation implements AsyncIterable<GenerationPart> {
  readonly #context: GenerationContext;
  readonly #request: GenerationRequest;
  readonly #parts: AsyncGenerator<GenerationPart, GenerationResult, void>;
  #result: Promise<GenerationResult> | undefined;

  constructor(context: GenerationContext, request: GenerationRequest) {
    this.#context = context;
    this.#request = request;
    this.#parts = this.#run();
  }

  /** One part a round, the prefill's first. Iterating a second time goes on where the first stopped. */
  [Symbol.asyncIterator](): AsyncIterator<GenerationPart, GenerationResult, void> {
    return {
      next: async () => {
        const step = await this.#parts.next();
        if (step.done && step.value) this.#result ??= Promise.resolve(step.value);
        return step;
      },
      return: async (value) => this.#parts.return((await value) as GenerationResult),
    };
  }

  /**
   * The whole result. Runs what has not been iterated yet.
   * @throws what the generation threw
   */
  result(): Promise<GenerationResult> {
    this.#result ??= this.#drain();
    return this.#result;
  }

  async #drain(): Promise<GenerationResult> {
    for (;;) {
      const step = await this.#parts.next();
      if (step.done) return step.value;
    }
  }

  async *#run(): AsyncGenerator<GenerationPart, GenerationResult, void> {
    const { scheduler, tokenizer } = this.#context;
    const { promptIds, plan, settings, signal } = this.#request;
    const release = this.#context.acquire();
    try {
      const text = new StreamingDecoder(tokenizer, promptIds);
      const ids: number[] = [];
      const rounds: Round[] = [];
      let finishReason: FinishReason | undefined;

      await scheduler.prepare(promptIds.length, plan);
      const prefillStart = performance.now();
      const prefillFrom = this.#counters();
      let report = await scheduler.prefill(promptIds, settings, () => signal?.aborted ?? false);
      const decodeStart = performance.now();
      const decodeFrom = this.#counters();

      if (report) {
        finishReason = finishReasonOf(report);
        ids.push(...report.ids);
        yield part(report, text, finishReason !== undefined, undefined);
      } else {
        finishReason = "abort";
      }

      while (finishReason === undefined && report) {
        if (signal?.aborted) {
          finishReason = "abort";
          break;
        }
        report = await scheduler.round(plan, report.length);
        const round = { drafted: report.drafted, accepted: report.accepted };
        finishReason = finishReasonOf(report);
        rounds.push(round);
        ids.push(...report.ids);
        yield part(report, text, finishReason !== undefined, round);
      }

      const decodeMs = rounds.length > 0 ? performance.now() - decodeStart : 0;
      const stats = this.#stats(ids.length, rounds, prefillFrom, decodeFrom, decodeStart - prefillStart, decodeMs);
      return {
        promptIds: [...promptIds],
        ids,
        text: tokenizer.decode(ids),
        finishReason: finishReason ?? "abort",
        rounds,
        stats,
      };
    } finally {
      release();
    }
  }

  #counters(): Counters {
    const { device, scheduler } = this.#context;
    const { submits, readbacks, readbackBytes } = device;
    return { submits, readbacks, readbackBytes, dispatches: scheduler.dispatches };
  }

  #stats(
    tokens: number,
    rounds: readonly Round[],
    prefillFrom: Counters,
    decodeFrom: Counters,
    prefillMs: number,
    decodeMs: number,
  ): GenerationStats {
    const now = this.#counters();
    const { pipelines } = this.#context.device;
    const drafted = rounds.reduce((sum, round) => sum + round.drafted, 0);
    const accepted = rounds.reduce((sum, round) => sum + round.accepted, 0);
    return {
      tokens,
      prefillMs,
      decodeMs,
      tokensPerSecond: decodeMs > 0 ? ((tokens - 1) * 1000) / decodeMs : 0,
      drafted,
      accepted,
      acceptanceRate: drafted > 0 ? accepted / drafted : 0,
      submits: now.submits - decodeFrom.submits,
      readbacks: now.readbacks - decodeFrom.readbacks,
      readbackBytes: now.readbackBytes - decodeFrom.readbackBytes,
      dispatches: now.dispatches - decodeFrom.dispatches,
      prefillSubmits: decodeFrom.submits - prefillFrom.submits,
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

