/**
 * Philox 4x32-10, a random number generator without a state: the words of any counter can be had on their own.
 *
 * Source: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"; the constants and the order of
 * the words are those of the authors' library Random123.
 */

export type Counter = readonly [number, number, number, number];
export type Key = readonly [number, number];

const ROUNDS = 10;
const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
/** Added to the key between rounds: the golden ratio and the square root of 3, less 1, in units of 2^-32. */
const WEYL = [0x9e3779b9, 0xbb67ae85] as const;

/** Four random words. All words are unsigned 32-bit integers. */
export function philox(counter: Counter, key: Key): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const [high0, low0] = [mulHigh(MULTIPLIERS[0], c0), mulLow(MULTIPLIERS[0], c0)];
    const [high1, low1] = [mulHigh(MULTIPLIERS[1], c2), mulLow(MULTIPLIERS[1], c2)];
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    [k0, k1] = [(k0 + WEYL[0]) >>> 0, (k1 + WEYL[1]) >>> 0];
  }
  return [c0, c1, c2, c3];
}

/** Upper word of the 64-bit product. Multiplied by half a word, no number reaches 2^53: nothing is rounded. */
function mulHigh(a: number, b: number): number {
  const low = (a & 0xffff) * b;
  const high = (a >>> 16) * b;
  return Math.floor((high + Math.floor(low / 2 ** 16)) / 2 ** 16);
}

/** Lower word of the 64-bit product. */
function mulLow(a: number, b: number): number {
  return Math.imul(a, b) >>> 0;
}
