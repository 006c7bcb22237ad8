/** Ctrl-C and SIGTERM as an `AbortSignal`: the first one stops the work in order, another one ends the process. */

import { constants } from "node:os";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Within so many milliseconds two signals are one: the terminal's own and the one that the launcher passes on. */
const SAME_SIGNAL_MS = 500;

/**
 * Runs what a process signal aborts.
 * @returns its exit code, or the signal's where it ended the work
 */
export async function interruptible(work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  using interruption = new Interruption();
  try {
    return await work(interruption.signal);
  } catch (error) {
    if (interruption.exitCode !== undefined) return interruption.exitCode;
    throw error;
  }
}

export class Interruption implements Disposable {
  readonly #controller = new AbortController();
  #exitCode: number | undefined;
  #since = 0;

  constructor() {
    for (const name of SIGNALS) process.on(name, this.#interrupt);
  }

  /** Aborted by the first process signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** 128 + the number of the process signal that came; undefined when none did. */
  get exitCode(): number | undefined {
    return this.#exitCode;
  }

  [Symbol.dispose](): void {
    for (const name of SIGNALS) process.off(name, this.#interrupt);
  }

  readonly #interrupt = (name: NodeJS.Signals): void => {
    if (this.#exitCode !== undefined) {
      if (performance.now() - this.#since > SAME_SIGNAL_MS) process.exit(this.#exitCode);
      return;
    }
    this.#exitCode = 128 + constants.signals[name];
    this.#since = performance.now();
    this.#controller.abort();
  };
}
