/** The pace of long work: pure arithmetic on times that are given. */

import { expect, test } from "vitest";
import { Pace } from "../../src/gpu/pace.ts";

const OPTIONS = { first: 256, least: 64, most: 8192 };

/** A pace after submissions of (units, milliseconds). */
function after(...taken: [units: number, ms: number][]): number {
  const pace = new Pace(OPTIONS);
  for (const [units, ms] of taken) pace.took(units, ms);
  return pace.units;
}

test("begins with the first guess and aims at 100 ms", () => {
  expect(after()).toBe(256);
  expect(after([1024, 200])).toBe(512);
  expect(after([256, 40])).toBe(640);
  expect(after([256, 99])).toBe(258);
});

test("grows by four at most, and keeps between least and most", () => {
  expect(after([256, 0])).toBe(1024);
  expect(after([256, 10])).toBe(1024);
  expect(after([256, 0], [1024, 0], [4096, 0])).toBe(8192);
  expect(after([256, 1e6])).toBe(64);
});

test("one slow submission is enough to shrink", () => {
  expect(after([8192, 10], [8192, 10], [8192, 10], [8192, 10], [8192, 400])).toBe(2048);
});

test("news that comes in a bunch does not mislead: four took 400 ms, though three seem to have taken none", () => {
  expect(after([1024, 400], [1024, 0], [1024, 0], [1024, 0])).toBe(1024);
});

test("a piece too short to tell does not shrink it", () => {
  const fast: [number, number][] = [
    [256, 0],
    [1024, 0],
    [4096, 0],
  ];
  expect(after(...fast, [1, 1])).toBe(8192);
  expect(after(...fast, [1, 24], [1, 24], [1, 24], [1, 24])).toBe(8192);
  expect(after(...fast, [1024, 90])).toBe(1137);
});

test("what was long ago is forgotten", () => {
  const steady = Array.from({ length: 6 }, (): [number, number] => [256, 30]);
  expect(after([256, 10_000], ...steady)).toBe(853);
});
