/**
 * How much to hand to the GPU at a time, from how long it took before: a submission that runs for seconds freezes the
 * screen, and an operating system may reset the GPU for it.
 */

/** Half of the 200 ms that no submission should exceed: the next one may turn out slower. */
const TARGET_MS = 100;
/** A first guess that no device takes long for. */
const FIRST_BYTES = 2 ** 18;
const LEAST_BYTES = 2 ** 16;
/** How much more than what was measured is tried next. */
const GROWTH = 4;
/** Measurements remembered. */
const WINDOW = 4;

export class Pace {
  readonly #most: number;
  readonly #window: { bytes: number; ms: number }[] = [];
  #bytes: number;

  /** @param most bytes never exceeded */
  constructor(most: number) {
    this.#most = most;
    this.#bytes = Math.min(FIRST_BYTES, most);
  }

  /** Bytes to hand over next. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Takes note that `bytes` bytes took `ms` milliseconds.
   *
   * The slower counts of this one and the last few together: where the host hears late of one chunk, the next seem to have
   * taken no time.
   */
  took(bytes: number, ms: number): void {
    this.#window.push({ bytes, ms });
    if (this.#window.length > WINDOW) this.#window.shift();
    const sum = (key: "bytes" | "ms") => this.#window.reduce((total, measured) => total + measured[key], 0);
    const ideal = TARGET_MS * Math.min(bytes / Math.max(ms, 1), sum("bytes") / Math.max(sum("ms"), 1));
    this.#bytes = Math.min(this.#most, GROWTH * bytes, Math.max(LEAST_BYTES, Math.floor(ideal)));
  }
}
