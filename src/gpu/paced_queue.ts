/**
 * Long work in submissions that are short enough: how much to hand to the GPU at a time, from how long it took before.
 *
 * A submission that runs for seconds freezes the screen, and an operating system may reset the GPU for it.
 */

import type { Recorder } from "./commands.ts";
import type { Device } from "./device.ts";

/** Half of the 200 ms that no submission should exceed: the next one may turn out slower. */
const TARGET_MS = 100;
/** How much more than what was measured is tried next. */
const GROWTH = 4;

/** Amounts of work, in units of the caller's. */
export interface PacedQueueOptions {
  /** A first guess, that no device takes long for. */
  first: number;
  least: number;
  most: number;
  /** Submissions that may be under way at one time. */
  inFlight: number;
}

export class PacedQueue {
  readonly #device: Device;
  readonly #options: PacedQueueOptions;
  /** Submissions under way, oldest first, settled when the GPU is done with them. */
  readonly #underWay: Promise<void>[] = [];
  #lastDone = 0;
  #units: number;

  constructor(device: Device, options: PacedQueueOptions) {
    this.#device = device;
    this.#options = options;
    this.#units = options.first;
  }

  /** Units that the next submission should hold. */
  get units(): number {
    return this.#units;
  }

  /** Submits a recording of `units` units of work, and waits while too many are under way. */
  async submit(recorder: Recorder, units: number): Promise<void> {
    const submitted = performance.now();
    this.#device.submit(recorder);
    const done = () => {
      const now = performance.now();
      // It waited for the submission before it.
      const ms = now - Math.max(submitted, this.#lastDone);
      this.#lastDone = now;
      const { least, most } = this.#options;
      const ideal = Math.min((units * TARGET_MS) / Math.max(ms, 1), units * GROWTH);
      this.#units = Math.min(most, Math.max(least, Math.floor(ideal)));
    };
    // A lost device rejects; whoever reads next is told.
    this.#underWay.push(this.#device.handle.queue.onSubmittedWorkDone().then(done, () => {}));
    if (this.#underWay.length >= this.#options.inFlight) await this.#underWay.shift();
  }
}
