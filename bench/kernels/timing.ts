/**
 * How long work takes on the device: wall-clock time from a submission to the news that it is done, less what a submission
 * of nothing takes.
 *
 * A submission holds so many calls that it takes `LEAST_MS`. They run one after another, as the kernels of a model do, so
 * what starting a dispatch costs is part of its time.
 */

import { Recorder } from "../../src/gpu/commands.ts";
import type { Device } from "../../src/gpu/device.ts";
import { median } from "./statistics.ts";

/** Milliseconds that a submission should take: much more than the clock and the queue are uncertain by. */
const LEAST_MS = 20;
const MOST_DISPATCHES = 1000;
/** How many times the calls of the submission before are tried next. */
const GROWTH = 16;

/** Work that can be recorded as often as one likes. */
export interface Timed {
  /** @param call a running number: which copy of its constant data it takes */
  record(recorder: Recorder, call: number): void;
}

const NOTHING: Timed = { record: () => {} };

/** What was measured of one work. */
export interface Times {
  /** Calls a submission. */
  calls: number;
  /** Milliseconds a call, of each repetition. */
  ms: number[];
}

export class Stopwatch {
  readonly #device: Device;
  #call = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  /** Milliseconds that a submission of so many calls takes, and the dispatches it holds. */
  async time(work: Timed, calls: number): Promise<{ ms: number; dispatches: number }> {
    const recorder = new Recorder(this.#device.handle, "measurement");
    for (let i = 0; i < calls; i++) work.record(recorder, this.#call++);
    const submitted = performance.now();
    this.#device.submit(recorder);
    await this.#device.handle.queue.onSubmittedWorkDone();
    const ms = performance.now() - submitted;
    this.#device.check();
    return { ms, dispatches: recorder.dispatches };
  }

  /** Milliseconds that a submission of nothing takes. */
  async nothing(): Promise<number> {
    return (await this.time(NOTHING, 0)).ms;
  }

  /** Calls a submission needs to take `LEAST_MS`; fewer where these would be more than `MOST_DISPATCHES`. Warms the work. */
  async callsFor(work: Timed): Promise<number> {
    const { dispatches } = await this.time(work, 1);
    const most = Math.max(1, Math.floor(MOST_DISPATCHES / dispatches));
    for (let calls = 1; ; ) {
      const { ms } = await this.time(work, calls);
      if (ms >= LEAST_MS || calls === most) return calls;
      calls = Math.min(most, Math.ceil(calls * Math.min(GROWTH, (1.2 * LEAST_MS) / ms)));
    }
  }
}

/**
 * Times works in turn: each repetition runs every work once.
 * @param onRepetition hears of each repetition that is done
 */
export async function interleave(
  stopwatch: Stopwatch,
  works: readonly Timed[],
  repetitions: number,
  onRepetition: (done: number) => void = () => {},
): Promise<{ times: Times[]; emptyMs: number }> {
  const times: Times[] = [];
  for (const work of works) times.push({ calls: await stopwatch.callsFor(work), ms: [] });
  const empty: number[] = [];
  for (let i = 0; i < repetitions; i++) {
    empty.push(await stopwatch.nothing());
    for (const [w, work] of works.entries()) {
      const { ms } = await stopwatch.time(work, times[w]!.calls);
      times[w]!.ms.push(ms);
    }
    onRepetition(i + 1);
  }
  const emptyMs = median(empty);
  return { emptyMs, times: times.map(({ calls, ms }) => ({ calls, ms: ms.map((all) => net(all, emptyMs) / calls) })) };
}

/** Never zero or less, which no time is: where nothing is left to tell, a hundredth of what was measured. */
function net(ms: number, emptyMs: number): number {
  return Math.max(ms - emptyMs, ms / 100);
}
