/**
 * How far an array is from the one expected.
 *
 * A NaN never passes: the distance is then infinite. Equal infinities are no distance apart.
 */

/** The largest distance, and the index at which it was found (of the first, when there are several). */
export interface Difference {
  error: number;
  index: number;
}

/** `max |a - b|`. */
export function maxAbsDiff(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return worst(a, b).error;
}

/**
 * `max |actual - expected| / max |expected|`: the worst error in units of the largest number expected, as rounding errors
 * of a sum go with the size of its terms and not with that of a result that happens to be near zero. Infinities expected
 * must be met exactly; they are no unit to measure the others by.
 */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): Difference {
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Number.isFinite(expected[i]!)) size = Math.max(size, Math.abs(expected[i]!));
  }
  const { error, index } = worst(actual, expected);
  const TINY = 1e-30; // all zeros expected: any other number is a large error, zeros are none
  return { error: error / (size + TINY), index };
}

function worst(a: ArrayLike<number>, b: ArrayLike<number>): Difference {
  if (a.length !== b.length) throw new RangeError(`${a.length} numbers compared with ${b.length}`);
  let error = 0;
  let index = 0;
  for (let i = 0; i < a.length; i++) {
    const distance = a[i] === b[i] ? 0 : Math.abs(a[i]! - b[i]!);
    if (Number.isNaN(distance)) return { error: Infinity, index: i };
    if (distance > error) [error, index] = [distance, i];
  }
  return { error, index };
}
