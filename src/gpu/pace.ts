/** How much to hand to the GPU at a time, from how long it took before. */

/** Half of the 200 ms that no submission should exceed: the next one may turn out slower. */
const TARGET_MS = 100;
/** Below it a time says little: it is what handing over takes. */
const TELLING_MS = 25;
/** How much more than what was measured is tried next. */
const GROWTH = 4;
/** Measurements remembered. */
const WINDOW = 4;

/** Amounts of work, in units of the caller's. */
export interface PaceOptions {
  /** A first guess, that no device takes long for. */
  first: number;
  least: number;
  most: number;
}

export class Pace {
  readonly #options: PaceOptions;
  readonly #window: { units: number; ms: number }[] = [];
  #units: number;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#units = options.first;
  }

  /** Units that the next submission should hold. */
  get units(): number {
    return this.#units;
  }

  /**
   * Takes note that `units` units took `ms` milliseconds.
   *
   * The slower counts of this submission and the last few together: where the host hears late of one, the next seem to have
   * taken no time. One too short to tell, such as the last piece of something, changes nothing for the worse.
   */
  took(units: number, ms: number): void {
    this.#window.push({ units, ms });
    if (this.#window.length > WINDOW) this.#window.shift();
    const sum = (key: "units" | "ms") => this.#window.reduce((total, measured) => total + measured[key], 0);
    const perMs = Math.min(units / Math.max(ms, 1), sum("units") / Math.max(sum("ms"), 1));
    const ideal = Math.floor(Math.min(TARGET_MS * perMs, GROWTH * units));
    const { least, most } = this.#options;
    this.#units = Math.min(most, Math.max(least, ms < TELLING_MS ? Math.max(this.#units, ideal) : ideal));
  }
}
