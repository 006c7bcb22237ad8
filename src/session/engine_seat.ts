/** The place of a model's engine: the one that works, and, where the model recovers, the next one when its device is lost. */

import { abortable } from "../abortable.ts";
import { DeviceLostError, DisposedError } from "../errors.ts";
import type { Engine } from "./engine.ts";

/** Devices that may be lost while one engine is made. */
const MOST_LOSSES = 3;

/** Makes an engine in the place of one whose device is lost. It leaves nothing where it fails. */
export type Reopen = (lost: Engine, signal: AbortSignal) => Promise<Engine>;

export class EngineSeat {
  #engine: Engine;
  readonly #reopen: Reopen | undefined;
  readonly #closing = new AbortController();
  #replacing: Promise<Engine> | undefined;

  /**
   * @param reopen makes an engine that computes what the lost one did, to the bit where the device is the same; absent: what is lost stays
   * lost
   */
  constructor(engine: Engine, reopen?: Reopen) {
    this.#engine = engine;
    this.#reopen = reopen;
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
    this.#replacing ??= this.#replace(this.#reopen).finally(() => {
      this.#replacing = undefined;
    });
    return abortable(this.#replacing, signal);
  }

  /** Settled when there will be no engine any more. */
  get ended(): Promise<unknown> {
    const closed = new Promise<void>((resolve) => {
      const { signal } = this.#closing;
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    return this.#reopen ? closed : Promise.race([closed, this.#engine.device.handle.lost]);
  }

  /** Frees the engine, and lets no other take its place. Safe to call twice. */
  close(): void {
    this.#closing.abort(new DisposedError());
    this.#engine.dispose();
  }

  async #replace(reopen: Reopen): Promise<Engine> {
    const { signal } = this.#closing;
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
