import { describe, expect, test } from "vitest";
import { fitRidge, type PairSums } from "../../src/calibration/ridge.ts";
import { seeded } from "../reference/random.ts";

const calmly = async () => {};

/** Sums over rows, as the GPU makes them, but added up in float64. */
function sumsOf(xs: readonly Float64Array[], ys: readonly Float64Array[]): PairSums {
  const size = xs[0]!.length;
  const stride = size + 4;
  const products = new Float64Array(stride * stride);
  const targets = new Float64Array(stride * size);
  for (const [r, x] of xs.entries()) {
    const row = [...x, 1, 0, 0, 0];
    for (let i = 0; i < stride; i++) {
      for (let j = 0; j < stride; j++) products[i * stride + j]! += row[i]! * row[j]!;
      for (let j = 0; j < size; j++) targets[i * size + j]! += row[i]! * ys[r]![j]!;
    }
  }
  return { size, products: Float32Array.from(products), targets: Float32Array.from(targets) };
}

function applied({ weight, bias }: { weight: Float32Array; bias: Float32Array }, x: Float64Array): Float64Array {
  const size = x.length;
  return Float64Array.from({ length: size }, (_, j) => {
    let sum = bias[j]!;
    for (let i = 0; i < size; i++) sum += weight[j * size + i]! * x[i]!;
    return sum;
  });
}

test(
  "an affine relation is found again",
  seeded(async (random) => {
    const size = 12;
    const weight = random.normals(size * size);
    const bias = random.normals(size);
    const xs = Array.from({ length: 400 }, () => Float64Array.from(random.normals(size), (x) => x + 0.5));
    const ys = xs.map((x) => applied({ weight, bias }, x));
    const map = await fitRidge(sumsOf(xs, ys), 1e-9, calmly);
    for (const [i, element] of map.weight.entries()) expect(element).toBeCloseTo(weight[i]!, 3);
    for (const [i, element] of map.bias.entries()) expect(element).toBeCloseTo(bias[i]!, 3);
  }),
);

test(
  "the gradient of what it minimises is zero: squared errors, and the distance to the identity",
  seeded(async (random) => {
    const size = 8;
    const rows = 60;
    const xs = Array.from({ length: rows }, () => Float64Array.from(random.normals(size, 1.5), (x) => x - 0.3));
    const ys = Array.from({ length: rows }, () => Float64Array.from(random.normals(size)));
    const ridge = 0.3;
    const map = await fitRidge(sumsOf(xs, ys), ridge, calmly);
    const mean = (i: number) => xs.reduce((sum, x) => sum + x[i]!, 0) / rows;
    const spread = xs.reduce((sum, x) => sum + x.reduce((all, each, i) => all + (each - mean(i)) ** 2, 0), 0);
    const lambda = (ridge * spread) / size;
    const errors = xs.map((x, r) => applied(map, x).map((y, j) => y - ys[r]![j]!));
    for (let j = 0; j < size; j++) {
      expect(errors.reduce((sum, error) => sum + error[j]!, 0)).toBeCloseTo(0, 3);
      for (let i = 0; i < size; i++) {
        const ofErrors = xs.reduce((sum, x, r) => sum + errors[r]![j]! * x[i]!, 0);
        const ofDistance = lambda * (map.weight[j * size + i]! - (i === j ? 1 : 0));
        expect(ofErrors + ofDistance).toBeCloseTo(0, 3);
      }
    }
  }),
);

test(
  "with a large ridge all stays as it is, but for the means",
  seeded(async (random) => {
    const xs = Array.from({ length: 30 }, () => Float64Array.from(random.normals(4)));
    const ys = xs.map((x) => x.map((each, i) => -3 * each + i));
    const { weight } = await fitRidge(sumsOf(xs, ys), 1e6, calmly);
    for (const [i, element] of weight.entries()) expect(element).toBeCloseTo(i % 5 === 0 ? 1 : 0, 4);
  }),
);

describe("what cannot be fitted is refused", () => {
  const zero: PairSums = { size: 4, products: new Float32Array(64), targets: new Float32Array(32) };
  test("no rows", async () => {
    await expect(fitRidge(zero, 1, calmly)).rejects.toThrow(RangeError);
  });
  test.each([
    ["what does not vary", 0],
    ["what is no number", NaN],
  ])("%s", async (_, value) => {
    const xs = Array.from({ length: 9 }, () => new Float64Array(4).fill(value));
    await expect(fitRidge(sumsOf(xs, xs), 1, calmly)).rejects.toThrow(RangeError);
  });
  test("what is told to stop", async () => {
    const xs = Array.from({ length: 9 }, (_, r) => new Float64Array(4).map((_, i) => (r * (i + 1)) % 5));
    const stop = new Error("stop");
    await expect(fitRidge(sumsOf(xs, xs), 1, () => Promise.reject(stop))).rejects.toBe(stop);
  });
});
