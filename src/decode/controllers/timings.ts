/**
 * The last timings of one plan and their mean, outliers apart: a dispatch varies by 30 % from run to run, and now and then a
 * round takes ten times as long.
 */

/** Timings kept of a plan. */
const KEPT = 16;
/** Timings more than this factor from the median are outliers. */
const OUTLIER = 2;
/** Rounds after which a timing is worth half: a device grows hot, a text grows long. */
const HALF_LIFE = 300;

interface Timing {
  readonly milliseconds: number;
  /** Ordinal of its round. */
  readonly at: number;
}

export class Timings {
  #timings: Timing[] = [];
  #mean: number | undefined;

  add(milliseconds: number, at: number): void {
    this.#timings.push({ milliseconds, at });
    if (this.#timings.length > KEPT) this.#timings.shift();
    this.#mean = undefined;
  }

  /** How many fresh timings the kept ones are worth at round `now`. */
  weight(now: number): number {
    return this.#timings.reduce((sum, { at }) => sum + 0.5 ** ((now - at) / HALF_LIFE), 0);
  }

  /** Mean in milliseconds. With two timings the lower one decides what an outlier is: most are long. */
  get mean(): number {
    this.#mean ??= this.#usualMean();
    return this.#mean;
  }

  #usualMean(): number {
    const sorted = this.values.sort((a, b) => a - b);
    const median = sorted[(sorted.length - 1) >> 1]!;
    const usual = sorted.filter((each) => each <= median * OUTLIER && each >= median / OUTLIER);
    return usual.reduce((sum, each) => sum + each, 0) / usual.length;
  }

  get count(): number {
    return this.#timings.length;
  }

  /** Oldest first, in milliseconds. */
  get values(): number[] {
    return this.#timings.map(({ milliseconds }) => milliseconds);
  }
}
