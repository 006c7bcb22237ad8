/** A generation that a worker runs. */

import type { GenerationPart, GenerationResult, Transcript } from "../types.ts";
import type { Remote } from "./remote.ts";

/** What is known of it when it has been made. */
export interface GenerationFacts {
  prompt: Transcript;
  seed: number | undefined;
}

export class WorkerGeneration implements AsyncIterable<GenerationPart> {
  readonly #remote: Remote;
  readonly #handle: number;
  readonly #made: Promise<GenerationFacts>;
  /** Told when it has ended, before whoever waits for it. */
  readonly #ended: () => Promise<void>;
  #result: Promise<GenerationResult> | undefined;
  /** The worker has it no more. */
  #over = false;
  /** Parts that nobody had taken when the result was asked for. */
  #rest: GenerationPart[] = [];

  /** @internal Use `model.generate`. @param made the worker's answer to the call that makes it */
  constructor(
    remote: Remote,
    handle: number,
    made: Promise<GenerationFacts>,
    ended: () => Promise<void> = async () => {},
  ) {
    this.#remote = remote;
    this.#handle = handle;
    this.#made = made;
    this.#ended = ended;
    made.catch(() => {}); // whoever asks for parts, or for the result, is told
    remote.releaseWith(this, handle);
  }

  /** The ids it continues. */
  get promptIds(): Promise<readonly number[]> {
    return this.#made.then(({ prompt }) => prompt.ids);
  }

  /** The same, with which of them were generated. */
  get prompt(): Promise<Transcript> {
    return this.#made.then(({ prompt }) => prompt);
  }

  /** What its noise is drawn from; undefined where nothing is drawn. */
  get seed(): Promise<number | undefined> {
    return this.#made.then(({ seed }) => seed);
  }

  /** One part a round, as `Generation` has them. Leaving the loop ends the generation. */
  [Symbol.asyncIterator](): AsyncIterator<GenerationPart, void, void> {
    const done = { done: true, value: undefined } as const;
    return {
      next: async () => {
        await this.#made;
        if (!this.#result) {
          const step = await this.#next();
          if (!step.done) return step;
        }
        await this.result();
        const value = this.#rest.shift();
        return value ? { done: false, value } : done;
      },
      return: async () => {
        await this[Symbol.asyncDispose]();
        return done;
      },
    };
  }

  /** The whole result, as `Generation` gives it. @throws what the generation threw */
  result(): Promise<GenerationResult> {
    this.#result ??= this.#fetchResult();
    return this.#result;
  }

  /** Ends the generation, whatever state it is in. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#made;
      if (!this.#over) await this.#remote.call(this.#handle, "end");
      await this.result();
    } catch {
      // There is none, or it has failed: whoever asks is told.
    }
    this.#rest = [];
    this.#release();
  }

  async #next(): Promise<IteratorResult<GenerationPart, void>> {
    try {
      return (await this.#remote.call(this.#handle, "next")) as IteratorResult<GenerationPart, void>;
    } catch (error) {
      this.result().catch(() => {}); // it is the same error
      throw error;
    }
  }

  async #fetchResult(): Promise<GenerationResult> {
    try {
      await this.#made;
      const result = (await this.#remote.call(this.#handle, "result")) as GenerationResult;
      this.#rest = (await this.#remote.call(this.#handle, "rest")) as GenerationPart[];
      return result;
    } finally {
      this.#release();
      await this.#ended().catch(() => {});
    }
  }

  #release(): void {
    if (this.#over) return;
    this.#over = true;
    this.#remote.release(this.#handle, this);
  }
}
