/** Medians, ranges, pairs and lines. */

import { expect, test } from "vitest";
import { leastSquares, median, pairwise, spread } from "../../bench/kernels/statistics.ts";

test("a median is the middle one, or between the two in the middle", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(() => median([])).toThrow(RangeError);
});

test("a spread is the median with the smallest and the largest", () => {
  expect(spread([5, 1, 2])).toEqual({ median: 2, range: [1, 5] });
});

test("pairs are of the same repetition", () => {
  expect(pairwise([8, 9], [2, 3], (a, b) => a / b)).toEqual([4, 3]);
  expect(() => pairwise([1], [1, 2], (a, b) => a / b)).toThrow(RangeError);
});

test("least squares find a line exactly, and the mean of what lies evenly around it", () => {
  const exact = [1, 2, 5].map((x) => ({ x, y: 3 + 0.5 * x }));
  expect(leastSquares(exact).slope).toBeCloseTo(0.5, 12);
  expect(leastSquares(exact).intercept).toBeCloseTo(3, 12);
  const around = exact.flatMap(({ x, y }) => [
    { x, y: y + 1 },
    { x, y: y - 1 },
  ]);
  expect(leastSquares(around).slope).toBeCloseTo(0.5, 12);
  expect(() =>
    leastSquares([
      { x: 1, y: 1 },
      { x: 1, y: 2 },
    ]),
  ).toThrow(RangeError);
});
