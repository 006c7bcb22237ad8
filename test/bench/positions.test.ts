/** What is said of steps at positions: line, deviation, and the slope against attention's count. */

import { expect, test } from "vitest";
import { BENCH_SHAPES } from "../../bench/kernels/names.ts";
import { attentionPerPosition, evaluate } from "../../bench/kernels/positions.ts";
import { stepPositions } from "../../bench/kernels/prefill.ts";
import { spread } from "../../bench/kernels/statistics.ts";

test("attention does four operations a head element and key, and reads keys and values once", () => {
  const spec = BENCH_SHAPES["SmolLM2-135M"];
  expect(attentionPerPosition(spec, "operations", "f32")).toBe(30 * 4 * 9 * 64);
  expect(attentionPerPosition(spec, "bytes", "f32")).toBe(30 * 2 * 3 * 64 * 4);
  expect(attentionPerPosition(spec, "bytes", "f16")).toBe(30 * 2 * 3 * 64 * 2);
});

test("the slope is told as a multiple of what the count costs at the matmuls' rate", () => {
  // 10 ms and 2 us a position; 10^6 operations at 1 GFLOP/s are 1 ms.
  const positions = [100, 1000, 4000];
  const ms = positions.map((position) => [0, 1, 2].map(() => 10 + 0.002 * position));
  const cost = { unit: "operations", perPosition: 1000, matmulRate: spread([1]) } as const;
  const result = evaluate(positions, ms, cost);
  expect(result.line.slope).toBeCloseTo(0.002, 12);
  expect(result.line.intercept).toBeCloseTo(10, 9);
  expect(result.attention.msPerPosition).toBeCloseTo(0.001, 12);
  expect(result.slopeRatio).toBeCloseTo(2, 9);
  expect(result.largestDeviation).toBeCloseTo(0, 9);
});

test("a deviation is told as a fraction of the line, with its sign in its row", () => {
  const cost = { unit: "bytes", perPosition: 1, matmulRate: spread([1]) } as const;
  const { rows, largestDeviation } = evaluate([0, 1, 2], [[10], [13], [10]], cost);
  expect(rows.map(({ offLine }) => offLine)).toEqual([
    expect.closeTo(-1 / 11, 9),
    expect.closeTo(2 / 11, 9),
    expect.closeTo(-1 / 11, 9),
  ]);
  expect(largestDeviation).toBeCloseTo(2 / 11, 9);
});

test("the steps that stand for a prompt's are spread evenly: their mean position is the prompt's", () => {
  expect(stepPositions(512)).toEqual([32, 96, 160, 224, 288, 352, 416, 480]);
  expect(stepPositions(3)).toEqual([0, 1, 2]);
});
