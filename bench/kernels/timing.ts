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
/** Times a duration is measured again before it passes for `LEAST_MS`, unless it is so many times that. */
const TRIES = 3;
const SURE = 20;

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
      const ms = await this.#surely(work, calls);
      if (ms >= LEAST_MS || calls >= most) return calls;
      calls = Math.min(most, Math.ceil(calls * Math.min(GROWTH, (1.2 * LEAST_MS) / ms)));
    }
  }

  /** Milliseconds; the shortest of some where one would pass for enough: a machine that is busy makes the shortest long. */
  async #surely(work: Timed, calls: number): Promise<number> {
    let shortest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < TRIES; i++) {
      const { ms } = await this.time(work, calls);
      shortest = Math.min(shortest, ms);
      if (shortest < LEAST_MS || shortest > SURE * LEAST_MS) break;
    }
    return shortest;
  }
}

/** One measurement, in milliseconds. */
export type Measure = () => Promise<number>;

/**
 * Measures in turn: each repetition takes every measurement once, so what else the machine does falls on all.
 * @param onRepetition hears of each repetition that is done
 * @returns what each measured, by repetition
 */
export async function inTurn(
  measures: readonly Measure[],
  repetitions: number,
  onRepetition: (done: number) => void = () => {},
): Promise<number[][]> {
  const results: number[][] = measures.map(() => []);
  for (let i = 0; i < repetitions; i++) {
    for (const [m, measure] of measures.entries()) results[m]!.push(await measure());
    onRepetition(i + 1);
  }
  return results;
}

/** Times works in turn, less what a submission of nothing takes in the same run. */
export async function interleave(
  stopwatch: Stopwatch,
  works: readonly Timed[],
  repetitions: number,
  onRepetition?: (done: number) => void,
): Promise<{ times: Times[]; emptyMs: number }> {
  const calls: number[] = [];
  for (const work of works) calls.push(await stopwatch.callsFor(work));
  const measures = works.map(
    (work, i): Measure =>
      async () =>
        (await stopwatch.time(work, calls[i]!)).ms,
  );
  const [empty = [], ...results] = await inTurn([() => stopwatch.nothing(), ...measures], repetitions, onRepetition);
  const emptyMs = median(empty);
  return {
    emptyMs,
    times: results.map((ms, i) => ({ calls: calls[i]!, ms: ms.map((all) => net(all, emptyMs) / calls[i]!) })),
  };
}

/** Never zero or less, which no time is: where nothing is left to tell, a hundredth of what was measured. */
export function net(ms: number, emptyMs: number): number {
  return Math.max(ms - emptyMs, ms / 100);
}
