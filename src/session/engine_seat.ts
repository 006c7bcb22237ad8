/** The place of a model's engine: the one that works, and, where the model recovers, the next one when its device is lost. */

import { abortable } from "../abortable.ts";
import { DeviceLostError, DisposedError, GpuUnavailableError } from "../errors.ts";
import type { Engine } from "./engine.ts";

/** Devices that may be lost while one engine is made. */
const MOST_LOSSES = 3;

/** Makes an engine in the place of one whose device is lost. It leaves nothing where it fails. */
export type Reopen = (lost: Engine, signal: AbortSignal) => Promise<Engine>;

/** An engine under way. */
interface Replacement {
  readonly engine: Promise<Engine>;
  /** Those who wait for it: without them it is given up. */
  waiting: number;
  readonly giveUp: AbortController;
}

export class EngineSeat {
  #engine: Engine;
  #reopen: Reopen | undefined;
  readonly #closing = new AbortController();
  #replacement: Replacement | undefined;
  readonly #ended: Promise<void>;
  #end: () => void = () => {};

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    void engine.device.handle.lost.then(() => {
      if (!this.#reopen) this.#end();
    });
  }

  /** From now on what is lost is replaced. @param reopen makes what computes as the lost one did, to the bit where the device is the same */
  recoverBy(reopen: Reopen): void {
    this.#reopen = reopen;
  }

  get recovers(): boolean {
    return this.#reopen !== undefined;
  }

  /** The engine as it is, also when it is lost. */
  get now(): Engine {
    return this.#engine;
  }

  /**
   * An engine that works, as far as is known. A lost one is replaced when it is asked for again: a page that nobody uses does without.
   * @throws DeviceLostError where it is lost for good; DisposedError; what making another throws, which is tried again the next time; the
   * signal's reason, and who else waits for the same goes on
   */
  async working(signal?: AbortSignal): Promise<Engine> {
    this.#closing.signal.throwIfAborted();
    const { lost } = this.#engine.device;
    if (!lost) return this.#engine;
    if (!this.#reopen) throw lost;
    signal?.throwIfAborted();
    const replacement = this.#replacement ?? this.#begin(this.#reopen);
    replacement.waiting++;
    try {
      const ends = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
      return await abortable(replacement.engine, ends);
    } finally {
      if (--replacement.waiting === 0) this.#leave(replacement);
    }
  }

  /** Settled when there will be no engine any more, or none that anything but another load can mend. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Frees the engine, and lets no other take its place. Safe to call twice. */
  close(): void {
    this.#closing.abort(new DisposedError());
    this.#engine.dispose();
    this.#end();
  }

  #begin(reopen: Reopen): Replacement {
    const giveUp = new AbortController();
    const signal = AbortSignal.any([giveUp.signal, this.#closing.signal]);
    const engine = this.#replace(reopen, signal);
    const replacement: Replacement = { engine, waiting: 0, giveUp };
    this.#replacement = replacement;
    engine.then(
      () => this.#leave(replacement),
      (error: unknown) => {
        // No adapter may be one later. Files that are others, say, stay so.
        if (!signal.aborted && !(error instanceof GpuUnavailableError)) this.#end();
        this.#leave(replacement);
      },
    );
    return replacement;
  }

  /** It is there, or has failed, or nobody waits for it: who comes next begins anew, if need be. */
  #leave(replacement: Replacement): void {
    if (this.#replacement === replacement) this.#replacement = undefined;
    replacement.giveUp.abort(new DisposedError());
  }

  async #replace(reopen: Reopen, signal: AbortSignal): Promise<Engine> {
    const lost = this.#engine;
    lost.dispose();
    for (let losses = 0; ; losses++) {
      try {
        const engine = await reopen(lost, signal);
        if (signal.aborted) engine.dispose();
        signal.throwIfAborted();
        this.#engine = engine;
        return engine;
      } catch (error) {
        if (!(error instanceof DeviceLostError) || losses >= MOST_LOSSES) throw error;
      }
    }
  }
}
