import { describe, expect, test } from "vitest";
import { streamStride } from "../../src/kernels/matmul_form.ts";
import { RmsNorm, rmsNormShape } from "../../src/kernels/rms_norm.ts";
import { paddedSize } from "../../src/kernels/weight_format.ts";
import { rmsNorm } from "../reference/ops.ts";
import { type Random, seeded } from "../reference/random.ts";
import {
  expectSameBits,
  expectUntouchedOutside,
  expectWithin,
  floats,
  openBench,
  poisoned,
  type Range,
  rowSet,
  U,
  type Words,
} from "./harness.ts";

const bench = openBench();
const ROWS = 32;

async function norm(
  hidden: Float32Array<ArrayBuffer>,
  weight: Float32Array<ArrayBuffer>,
  epsilon: number,
  range: Range,
  bound = range.count,
  strides = { input: weight.length, output: weight.length },
): Promise<Words> {
  const normed = bench.output("normed", (hidden.length / strides.input) * strides.output);
  const kernel = new RmsNorm(bench.device);
  await kernel.prepare();
  const group = kernel.bind({
    range: bench.ranges({ first: 0, count: 0 }, range),
    shape: bench.uniform("shape", rmsNormShape(weight.length, epsilon, strides.input, strides.output)),
    hidden: bench.upload("hidden", hidden),
    weight: bench.upload("weight", weight),
    normed,
  });
  const [actual] = await bench.run((r) => kernel.dispatch(r, group, rowSet(1, bound)), normed);
  bench.release();
  return actual;
}

/**
 * Relative error of a norm over K numbers. The sum of K squares, all positive, in whatever order: at most K * U, and half
 * of that in its root. The division by K (2.5 ULP) and adding epsilon: 6 U, half of it in the root. `inverseSqrt`: 2 ULP =
 * 4 U. Two multiplications: 2 U.
 */
function bound(K: number): number {
  return (K / 2 + 3 + 4 + 2) * U;
}

function expectNormed(
  actual: Words,
  hidden: Float32Array,
  weight: Float32Array,
  epsilon: number,
  { first, count }: Range,
): void {
  const K = weight.length;
  for (let row = first; row < first + count; row++) {
    const expected = rmsNorm(hidden.subarray(row * K, (row + 1) * K), weight, epsilon);
    const got = floats(actual).subarray(row * K, (row + 1) * K);
    expectWithin(got, expected, (i) => bound(K) * Math.abs(expected[i]!), `rms_norm: size ${K}, row ${row}`);
  }
}

/** Rows of very different sizes. */
function rowsOf(random: Random, count: number, K: number): Float32Array<ArrayBuffer> {
  const hidden = new Float32Array(count * K);
  for (let row = 0; row < count; row++) hidden.set(random.normals(K, 10 ** random.int(-3, 4)), row * K);
  return hidden;
}

describe("rms_norm", () => {
  test.each([4, 64, 172, 200, 256, 260, 576, 2048])(
    "equals the formula on the rows of its range and writes no other, size %i",
    (K) =>
      seeded(async (random) => {
        for (const range of [
          { first: 0, count: 1 },
          { first: random.int(1, 15), count: random.int(2, 16) },
        ]) {
          const hidden = rowsOf(random, 32, K);
          const weight = random.normals(K);
          const epsilon = random.pick([1e-5, 1e-6]);
          const actual = await norm(hidden, weight, epsilon, range, range.count + 1);
          expectNormed(actual, hidden, weight, epsilon, range);
          expectUntouchedOutside(actual, K, range, "normed");
        }
      })(),
  );

  test.each([4, 172, 576])("takes rows out of a wider stream and leaves padding alone, size %i", (K) =>
    seeded(async (random) => {
      const strides = { input: streamStride(K), output: paddedSize(K) };
      const range = { first: random.int(0, 15), count: random.int(1, 16) };
      const dense = rowsOf(random, ROWS, K);
      const weight = random.normals(K);
      // What stands beside the rows must not be looked at.
      const hidden = new Float32Array(ROWS * strides.input).fill(NaN);
      for (let row = 0; row < ROWS; row++) {
        hidden.set(dense.subarray(row * K, (row + 1) * K), row * strides.input);
      }
      const normed = await norm(hidden, weight, 1e-5, range, range.count + 1, strides);
      expectUntouchedOutside(normed, strides.output, range, "normed");
      const rows = new Uint32Array(ROWS * K);
      for (let row = 0; row < ROWS; row++) {
        const padded = normed.subarray(row * strides.output, (row + 1) * strides.output);
        rows.set(padded.subarray(0, K), row * K);
        expectSameBits(padded.slice(K), poisoned(strides.output - K), `padding of row ${row}`);
      }
      expectNormed(rows, dense, weight, 1e-5, range);
    })(),
  );

  test(
    "epsilon alone scales a row of zeros or of numbers whose squares vanish",
    seeded(async (random) => {
      const K = 64;
      const hidden = new Float32Array(2 * K);
      hidden.set(random.normals(K, 1e-25), K);
      const weight = random.normals(K);
      const actual = floats(await norm(hidden, weight, 1e-5, { first: 0, count: 2 }));
      expect([...actual.subarray(0, K)].every((x) => x === 0)).toBe(true);
      // The formula's own error, and what a flushed square may take from a sum that is 30 orders below epsilon: nothing.
      const expected = rmsNorm(hidden.subarray(K), weight, 1e-5);
      expectWithin(actual.subarray(K), expected, (i) => bound(K) * Math.abs(expected[i]!), "rms_norm: tiny");
    }),
  );

  test(
    "a row's bits do not depend on the other rows, on its number or on the grid",
    seeded(async (random) => {
      for (const K of [64, 172, 576]) {
        const weight = random.normals(K);
        const row = random.normals(K);
        const alone = (await norm(row, weight, 1e-5, { first: 0, count: 1 })).slice(0, K);
        const number = random.int(0, 31);
        const hidden = rowsOf(random, 32, K);
        hidden.fill(NaN, 0, random.int(0, 31) * K);
        hidden.set(row, number * K);
        const together = await norm(hidden, weight, 1e-5, { first: 0, count: 32 });
        expectSameBits(together.slice(number * K, (number + 1) * K), alone, `size ${K}, as row ${number} of 32`);
      }
    }),
  );

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const actual = await norm(random.normals(4 * 64), random.normals(64), 1e-5, { first: 2, count: 0 }, 4);
      expectUntouchedOutside(actual, 64, { first: 0, count: 0 }, "normed");
    }),
  );
});
