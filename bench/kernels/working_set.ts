/**
 * How many copies of constant data a measurement goes through.
 *
 * In a model hundreds of other matrices are read before one is read again, so no cache holds it. A measurement that runs
 * the same kernel over and over takes another copy each time, and together they exceed the caches.
 */

/** What the copies of one matrix should take: more than the last cache of any GPU. */
const WANTED_BYTES = 256 * 2 ** 20;
/** What all copies may take, unless one of each takes more already. */
const BUDGET_BYTES = 2 ** 30;
/** Copies of one matrix at most: a thousand dispatches go through them twice. */
const MOST_COPIES = 500;
/** How far the wanted size is lowered at a time until all fits. */
const STEP = 0.9;

/** Copies of each of the matrices whose sizes in bytes are given. */
export function copiesOf(sizes: readonly number[]): number[] {
  for (let wanted = WANTED_BYTES; wanted > Math.min(...sizes); wanted *= STEP) {
    const copies = sizes.map((size) => Math.min(MOST_COPIES, Math.ceil(wanted / size)));
    if (copies.reduce((sum, count, i) => sum + count * sizes[i]!, 0) <= BUDGET_BYTES) return copies;
  }
  return sizes.map(() => 1);
}
