/** Copies of constant data: past the caches, within the memory. */

import { expect, test } from "vitest";
import { copiesOf } from "../../bench/kernels/working_set.ts";

const MIB = 2 ** 20;

/** Bytes of all copies. */
function total(sizes: readonly number[]): number {
  return copiesOf(sizes).reduce((sum, count, i) => sum + count * sizes[i]!, 0);
}

test("the copies of each matrix take 256 MiB where memory permits", () => {
  expect(copiesOf([10 * MIB, 100 * MIB])).toEqual([26, 3]);
  expect(copiesOf([300 * MIB])).toEqual([1]);
});

test("they take less where all together would take more than 1 GiB", () => {
  const sizes = [20, 3, 40, 20, 280, 2, 16].map((size) => size * MIB);
  expect(total(sizes)).toBeLessThanOrEqual(1024 * MIB);
  expect(total(sizes)).toBeGreaterThan(800 * MIB);
  // Every one as much as the others, but for the one that is larger alone.
  const workingSets = copiesOf(sizes).map((count, i) => count * sizes[i]!);
  expect(Math.min(...workingSets)).toBeGreaterThan(90 * MIB);
});

test("a matrix is there at least once and at most 500 times", () => {
  expect(copiesOf([2000 * MIB, 30 * MIB])).toEqual([1, 1]);
  expect(copiesOf([1000])).toEqual([500]);
});
