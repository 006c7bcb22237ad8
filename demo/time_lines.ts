/** Where rounds go on the time axis: lines of one scale, broken between rounds as a text is between words. */

import type { Round } from "../src/index.ts";
import { roundMs } from "./round_text.ts";

type Timed = Pick<Round, "startMs" | "endMs">;

/** A bar's place; `left` and `width` are shares of a line. */
export interface Place {
  line: number;
  left: number;
  width: number;
  /** It takes longer than a line is; the bar ends with the line. */
  cut: boolean;
}

/** Pixels of a short round's bar, and of a usual one's where the text is short. */
const LEAST_WIDTH = 13;
const GOOD_WIDTH = 26;
/** Lines that a text should take, as long as its bars do not become too narrow. */
const GOOD_LINES = 6;
/** A long round's bar is at most this part of a line. */
const LARGEST_PART = 1 / 3;
/** Clocks in browsers are coarse. */
const LEAST_MS = 0.05;
/** Thin lines on a line, about. */
const TICKS = 6;

/** Milliseconds that a line should show, by how long the rounds so far took. */
export function lineSpan(rounds: readonly Timed[], width: number): number {
  const took = rounds.map((round) => Math.max(LEAST_MS, roundMs(round))).sort((a, b) => a - b);
  const at = (share: number): number => took[Math.floor(share * (took.length - 1))] ?? LEAST_MS;
  const usual = Math.min(GOOD_WIDTH, Math.max(LEAST_WIDTH, (width * GOOD_LINES) / took.length));
  const wanted = Math.max(LEAST_WIDTH / at(0.1), usual / at(0.5));
  return width / Math.min(wanted, (width * LARGEST_PART) / at(0.8));
}

/** The step of the thin lines: 1, 2 or 5 times a power of ten. */
export function tickStep(spanMs: number): number {
  const least = spanMs / TICKS;
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5].find((times) => power * times >= least) ?? 10);
}

/** Lines filled one round after the other. */
export class TimeLines {
  readonly spanMs: number;
  /** When each line begins. */
  readonly starts: number[] = [];

  constructor(spanMs: number) {
    this.spanMs = spanMs;
  }

  place(round: Timed): Place {
    const from = this.starts.at(-1);
    if (from === undefined || round.endMs > from + this.spanMs) this.starts.push(round.startMs);
    const begin = this.starts.at(-1) ?? round.startMs;
    const width = roundMs(round) / this.spanMs;
    const left = (round.startMs - begin) / this.spanMs;
    return { line: this.starts.length - 1, left, width: Math.min(1, width), cut: width > 1 };
  }
}
