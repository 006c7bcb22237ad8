/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A generation: an async iterator over what each round emits, and the result of the whole.
 *
 * Nothing runs before the first part is asked for. Leaving the loop early ends the generation; the model is then free for
 * the next one.
 */

import { type DecodedRound, decode } from "../decode/decoding.ts";
import type { HostDrafter } from "../decode/drafters/host_drafter.ts";
import type { Controller, RoundOutcome, RoundPlan } from "../decode/plan.ts";
import type { Limits } from "../decode/scheduler.ts";
import type { SelectionRequest } from "../decode/selection/selections.ts";
import { NonFiniteLogitsError } from "../errors.ts";
import { FAILED, RUNNING, STOPPED } from "../kernels/constants.ts";
import type { TextTokenizer } from "../text/tokenizer.ts";
import type { GenerationPart, GenerationResult, Transcript } from "../types.ts";
import type { Turn } from "./chat.ts";
import type { Engine } from "./engine.ts";
import type { OpenText } from "./kept_texts.ts";
import type { TakenLane } from "./lanes.ts";
import { Tally } from "./tally.ts";
import { TokenStream } from "./token_stream.ts";

/** What a generation works with. @internal */
export interface GenerationContext {
  tokenizer: TextTokenizer;
  /** What computes it, the first time and again when its device is lost. Throws the loss where nothing takes its place, and the signal's reason. */
  engine: (signal: AbortSignal) => Promise<Engine>;
  /** A lane for this generation, when it is its turn; undefined where the signal aborts before. Throws when the model is gone. */
  acquire: (signal: AbortSignal) => Promise<TakenLane | undefined>;
  /** That its text takes in the cache, at most. */
  positions: number;
  /** Told of each round: what plans cost is learned from all generations. */
  observe: (outcome: RoundOutcome) => void;
}

/** How a generation drafts and chooses. @internal */
export interface GenerationChoices {
  /** The plans that its rounds may have, and who chooses among them; made once these are compiled. */
  plans: readonly RoundPlan[];
  controller: () => Controller;
  /** The caller's own drafter. */
  drafter: HostDrafter | undefined;
  selection: SelectionRequest;
}

/** What is asked of it, checked and complete. @internal */
export interface GenerationRequest {
  prompt: Transcript;
  /** Takes what the cache has of it. */
  reusesPrompt: boolean;
  /** The turn of a chat that it is. */
  turn: Turn | undefined;
  /** The new text is an answer and begins on its own; else it continues the prompt's. */
  answers: boolean;
  /** How it drafts and chooses: asked when it begins, since what drafts may have changed since it was made. */
  choices: () => GenerationChoices;
  /** What its noise is drawn from; undefined where nothing is drawn. */
  seed: number | undefined;
  limits: Limits;
  stop: readonly string[];
  timeLimitMs: number;
  signal: AbortSignal | undefined;
}

/** A timer of more fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Devices that may be lost one after the other while a text gets no further. */
const MOST_LOSSES = 3;

export class Generation implements AsyncIterable<GenerationPart> {
  readonly #context: GenerationContext;
  readonly #request: GenerationRequest;
  readonly #parts: AsyncGenerator<GenerationPart, void, void>;
  /** Parts that `result()` ran and no loop has taken yet. */
  readonly #untaken: GenerationPart[] = [];
  /** The part under way. A loop and `result()` wait for the same one, so that parts keep their order. */
  #pulling: Promise<void> | undefined;
  readonly #ended = new AbortController();
  /** How it ended: `result()` tells, however it was consumed. */
  #outcome: { result: GenerationResult } | { error: unknown } | undefined;

  /** @internal Use `model.generate`. */
  constructor(context: GenerationContext, request: GenerationRequest) {
    this.#context = context;
    this.#request = request;
    this.#parts = this.#run();
  }

  /** The ids it continues. */
  get promptIds(): readonly number[] {
    return this.#request.prompt.ids;
  }

  /** The same, with which of them were generated: given to `generate` it gives this text once more. */
  get prompt(): Transcript {
    return this.#request.prompt;
  }

  /** What its noise is drawn from; undefined where nothing is drawn. */
  get seed(): number | undefined {
    return this.#request.seed;
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
          if (step.done) this.#outcome ??= { result: this.#result(new Tally()) };
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
    this.#ended.abort(); // a drafter on the host that never answers is not waited for
    await this.#parts.return();
    this.#outcome ??= { result: this.#result(new Tally()) };
  }

  async *#run(): AsyncGenerator<GenerationPart, void, void> {
    const { tokenizer, acquire } = this.#context;
    const { prompt, answers, signal, turn, stop } = this.#request;
    const tally = new Tally();
    // An abort ends the generation also while nobody asks for the next part.
    const end = () => void this.#end();
    const ended = signal ? AbortSignal.any([signal, this.#ended.signal]) : this.#ended.signal;
    let taken: TakenLane | undefined;
    let begun = false;
    try {
      turn?.begins();
      begun = true;
      taken = await acquire(ended);
      if (!taken) return; // there is nothing to show
      signal?.addEventListener("abort", end, { once: true });
      const stream = new TokenStream(tokenizer, answers ? [] : prompt.ids, stop);
      for (let losses = 0; ; ) {
        const engine = await this.#engine(tally, ended);
        if (!engine) break;
        if (losses > 0) tally.recoveries++;
        const had = tally.ids.length;
        try {
          yield* this.#compute(engine, taken, tally, stream, ended);
          break;
        } catch (error) {
          const { lost } = engine.device;
          if (!lost) throw error;
          losses = tally.ids.length > had ? 1 : losses + 1;
          if (losses > MOST_LOSSES) throw lost;
        }
      }
      this.#outcome = { result: this.#result(tally) };
    } catch (error) {
      this.#outcome = { error };
    } finally {
      signal?.removeEventListener("abort", end);
      this.#outcome ??= { result: this.#result(tally) }; // left early
      try {
        if (begun) turn?.ends("result" in this.#outcome ? this.#outcome.result : undefined);
      } finally {
        taken?.release();
      }
    }
  }

  /** What computes the text; undefined where it ended, or its time was up, before there was anything. */
  async #engine(tally: Tally, ended: AbortSignal): Promise<Engine | undefined> {
    const { firstAt } = tally;
    const { timeLimitMs } = this.#request;
    const timeIsUp = new AbortController();
    const isTimed = firstAt !== undefined && Number.isFinite(timeLimitMs);
    const left = isTimed ? firstAt + timeLimitMs - performance.now() : 0;
    const timer = isTimed
      ? setTimeout(() => timeIsUp.abort(), Math.min(Math.max(0, left), LONGEST_TIMER_MS))
      : undefined;
    try {
      return await this.#context.engine(AbortSignal.any([ended, timeIsUp.signal]));
    } catch (error) {
      if (ended.aborted) return undefined;
      if (!timeIsUp.signal.aborted) throw error;
      tally.finishReason = "time";
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Computes the text on an engine, from where it stands to its end. What was emitted on another one is computed again as it was then,
   * and goes on with its last token.
   */
  async *#compute(
    engine: Engine,
    taken: TakenLane,
    tally: Tally,
    stream: TokenStream,
    ended: AbortSignal,
  ): AsyncGenerator<GenerationPart, void, void> {
    const { scheduler, rounds } = engine;
    const { lane } = taken;
    const { prompt, reusesPrompt, limits, signal } = this.#request;
    const { plans, selection, controller: createController, drafter } = this.#request.choices();
    const emittedIds = [...tally.ids];
    const goesOn = emittedIds.length > 0;
    const text = goesOn ? withGenerated(prompt, emittedIds.slice(0, -1)) : prompt;
    const mostReused = goesOn ? text.ids.length : text.ids.length - 1;
    const leave = rounds.join(lane);
    let open: OpenText | undefined;
    let runs = false;
    try {
      const begin = await scheduler.prepare(
        plans,
        { ...selection, emittedIds },
        { replays: text.generated.length > 0, joins: rounds.texts > 1 },
      );
      open = await engine.open(text, reusesPrompt ? mostReused : 0, this.#context.positions, lane);
      const controller = createController();
      if (!goesOn) tally.begin(engine, open.reused);

      const state = { length: text.ids.length, pending: emittedIds.at(-1)!, emitted: emittedIds.length };
      scheduler.begin(limits, begin(lane), { lane, ...(goesOn && state) });
      const stop = () => ended.aborted;
      const first = goesOn ? undefined : await scheduler.prefill(text.ids, stop, open, lane);
      runs = goesOn ? await scheduler.replay(text.ids, stop, open, lane) : first !== undefined;
      if (runs) {
        if (first) tally.beginRounds(engine, first);
        else tally.goOn(engine);
        const { vocabSize } = scheduler;
        const { observe } = this.#context;
        const decoding = { lane, promptIds: prompt.ids, emittedIds, limits, controller, vocabSize, drafter };
        for await (const decoded of decode(rounds, first, { ...decoding, signal: ended, observe })) {
          const { finished } = decoded.report;
          const { stopped, ...part } = stream.part(decoded, finished !== RUNNING || this.#ends(tally, decoded));
          tally.add(decoded, part);
          this.#finish(tally, decoded, stopped);
          taken.works(false);
          if (part.ids.length > 0) yield part;
          taken.works(true);
          if (finished === FAILED) throw new NonFiniteLogitsError();
          if (tally.finishReason !== "abort" || signal?.aborted) break;
        }
      }
    } catch (error) {
      open?.abandon();
      throw error;
    } finally {
      // Without a token the prompt has not been computed whole. The last token has no keys and values yet.
      const computed = tally.ids.slice(Math.max(0, emittedIds.length - 1), -1);
      if (runs && tally.ids.length > 0) open?.keep(computed, selection.draftModel ? [selection.draftModel] : []);
      else open?.abandon();
      leave();
    }
  }

  /** Whether nothing follows a round, whatever it emitted. */
  #ends({ firstAt }: Tally, { doneAt }: DecodedRound): boolean {
    const { timeLimitMs, signal } = this.#request;
    return doneAt - (firstAt ?? doneAt) >= timeLimitMs || (signal?.aborted ?? false);
  }

  /** Notes why the text ends with a round, if it does. */
  #finish(tally: Tally, decoded: DecodedRound, stopped: boolean): void {
    const { finished } = decoded.report;
    if (stopped || finished === STOPPED) tally.finishReason = "stop";
    else if (finished !== RUNNING) tally.finishReason = "length";
    else if (!this.#request.signal?.aborted && this.#ends(tally, decoded)) tally.finishReason = "time";
  }

  #result(tally: Tally): GenerationResult {
    const { ids, tokens, rounds, finishReason, shown } = tally;
    const { seed } = this;
    return {
      promptIds: [...this.promptIds],
      ids,
      text: this.#text(ids, shown),
      ...(seed !== undefined && { seed }),
      ...{ tokens, finishReason, rounds, stats: tally.stats(this.promptIds.length) },
    };
  }

  /** The ids decoded on their own, as far as they were shown: a stop string is not. */
  #text(ids: readonly number[], shown: string): string {
    const whole = this.#context.tokenizer.decode(ids);
    // What continues a prompt may begin with a space that the text on its own has not.
    const own = [shown, shown.replace(/^ /, "")].find((text) => whole.startsWith(text));
    return this.#request.stop.length > 0 && own !== undefined ? own : whole;
  }
}

/** A text that goes on with ids that were generated. */
function withGenerated({ ids, generated }: Transcript, more: readonly number[]): Transcript {
  const end = ids.length + more.length;
  return { ids: [...ids, ...more], generated: more.length > 0 ? [...generated, [ids.length, end]] : generated };
}
