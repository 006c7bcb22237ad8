/** What is made of repeated measurements. */

/** A quantity that was measured several times. */
export interface Spread {
  median: number;
  /** Smallest and largest. */
  range: [number, number];
}

/** y = intercept + slope * x */
export interface Line {
  intercept: number;
  slope: number;
}

export interface Point {
  x: number;
  y: number;
}

/** @throws RangeError for no values */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("no values have no median");
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Median and range. */
export function spread(values: readonly number[]): Spread {
  return { median: median(values), range: [Math.min(...values), Math.max(...values)] };
}

/** Values pair by pair: of the same repetition, so that what else the machine did fell on both. */
export function pairwise(
  a: readonly number[],
  b: readonly number[],
  combine: (a: number, b: number) => number,
): number[] {
  if (a.length !== b.length) throw new RangeError(`${a.length} values paired with ${b.length}`);
  return a.map((value, i) => combine(value, b[i]!));
}

/**
 * The line through points with the smallest sum of squared distances in y.
 * @throws RangeError for points at fewer than two x
 */
export function leastSquares(points: readonly Point[]): Line {
  if (new Set(points.map(({ x }) => x)).size < 2) throw new RangeError("a line needs points at two x at least");
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanX = mean(points.map(({ x }) => x));
  const meanY = mean(points.map(({ y }) => y));
  const covariance = mean(points.map(({ x, y }) => (x - meanX) * (y - meanY)));
  const slope = covariance / mean(points.map(({ x }) => (x - meanX) ** 2));
  return { intercept: meanY - slope * meanX, slope };
}
