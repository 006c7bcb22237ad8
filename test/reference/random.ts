/**
 * Random inputs for tests: a small seeded generator, and a wrapper that names the seed when a test fails.
 */

/** Seeded generator of numbers: mulberry32 (Tommy Ettinger, public domain), 32 bits of state. */
export class Random {
  readonly seed: number;
  #state: number;

  constructor(seed: number) {
    this.seed = seed >>> 0;
    this.#state = this.seed;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Normal with mean 0 and variance 1 (Box and Muller 1958). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** An integer in [low, high], both included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** One of `choices`. */
  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.int(0, choices.length - 1)]!;
  }

  /** `count` normal numbers times `scale`, as float32. */
  normals(count: number, scale = 1): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: count }, () => scale * this.normal());
  }

  /** `count` integers in [low, high], both included: token ids, say. */
  ints(count: number, low: number, high: number): number[] {
    return Array.from({ length: count }, () => this.int(low, high));
  }
}

/** The environment's `LAYERLEAP_SEED`, to repeat a failure; otherwise a fresh one from the clock. */
export function randomSeed(): number {
  const given = process.env.LAYERLEAP_SEED;
  if (given === undefined || given === "") return Date.now() >>> 0;
  const seed = Number(given);
  if (!Number.isInteger(seed)) throw new Error(`LAYERLEAP_SEED is "${given}", expected an integer`);
  return seed >>> 0;
}

/**
 * A test on random inputs: `it("holds", seeded((random) => { ... }))`. When it fails, its message says how to repeat it.
 */
export function seeded(test: (random: Random) => void | Promise<void>): () => Promise<void> {
  return async () => {
    const random = new Random(randomSeed());
    try {
      await test(random);
    } catch (error) {
      if (error instanceof Error) error.message = `[LAYERLEAP_SEED=${random.seed}] ${error.message}`;
      throw error;
    }
  };
}
