/**
 * Long work in submissions that are short enough, and not too many ahead of the GPU.
 *
 * A submission that runs for seconds freezes the screen, and an operating system may reset the GPU for it.
 */

import type { GpuError } from "../errors.ts";
import type { Recorder } from "./commands.ts";
import type { Device } from "./device.ts";
import { Pace, type PaceOptions } from "./pace.ts";

export interface PacedQueueOptions extends PaceOptions {
  /** Submissions that may be under way at one time. */
  inFlight: number;
}

export class PacedQueue {
  readonly #device: Device;
  readonly #options: PacedQueueOptions;
  readonly #pace: Pace;
  /** Submissions under way, oldest first, settled when the GPU is done with them. */
  readonly #underWay: Promise<void>[] = [];
  #lastDone = 0;

  constructor(device: Device, options: PacedQueueOptions) {
    this.#device = device;
    this.#options = options;
    this.#pace = this.newPace();
  }

  /** Units that the next submission should hold. */
  get units(): number {
    return this.#pace.units;
  }

  /** The pace of work that has none of its own. */
  get pace(): Pace {
    return this.#pace;
  }

  /** A pace of its own, for a kind of work whose units cost something else. */
  newPace(): Pace {
    return new Pace(this.#options);
  }

  /**
   * Submits a recording of `units` units of work, and waits while too many are under way.
   * @param errors what was wrong with it goes there, where it is submitted beside other work
   */
  async submit(
    recorder: Recorder,
    units: number,
    pace: Pace = this.#pace,
    errors?: Promise<GpuError | undefined>[],
  ): Promise<void> {
    const submitted = performance.now();
    if (errors) errors.push(this.#device.submitOwn(recorder));
    else this.#device.submit(recorder);
    const done = () => {
      const now = performance.now();
      pace.took(units, now - Math.max(submitted, this.#lastDone)); // it waited for the submission before it
      this.#lastDone = now;
    };
    // A lost device rejects; whoever reads next is told.
    this.#underWay.push(this.#device.handle.queue.onSubmittedWorkDone().then(done, () => {}));
    if (this.#underWay.length >= this.#options.inFlight) await this.#underWay.shift();
  }
}
