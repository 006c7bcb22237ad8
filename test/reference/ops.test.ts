/** The operations on cases small enough to check by hand, the readers of the formats, and the tests' own tools. */

import { describe, expect, it } from "vitest";
import { maxAbsDiff, relativeError } from "./compare.ts";
import { argmax, attention, bfloat16, matmul, rmsNorm, rope, silu, softmax } from "./ops.ts";
import { Random, seeded } from "./random.ts";
import { toFloat32 } from "./safetensors.ts";

const floats = (...values: number[]) => Float64Array.from(values);

describe("operations", () => {
  it("rmsNorm divides by the root of the mean square", () => {
    const out = rmsNorm(floats(1, -7), floats(1, 2), 0); // mean square 25
    expect(maxAbsDiff(out, [0.2, -2.8])).toBeLessThan(1e-15);
  });

  it("matmul takes a row of weights per output", () => {
    expect(matmul(floats(1, 2, 3, 4, 5, 6), floats(1, 10))).toEqual(floats(21, 43, 65));
    expect(() => matmul(floats(1, 2, 3), floats(1, 2))).toThrow("whole number of rows");
  });

  it("rope turns element i with element i + headDim / 2, and slower for a larger i", () => {
    const quarter = Math.PI / 2;
    const out = rope(floats(1, 1, 0, 0), 1, quarter ** -2); // theta^(-2i/4): 1 radian, and a quarter turn
    expect(maxAbsDiff(out, [Math.cos(1), 0, Math.sin(1), 1])).toBeLessThan(1e-7);
  });

  it(
    "rope keeps scores dependent on the distance alone",
    seeded((random) => {
      const [q, k] = [random.normals(16), random.normals(16)];
      const score = (p: number, r: number) => matmul(rope(q, p, 1e4), rope(k, r, 1e4))[0]!;
      const [distance, shift] = [random.int(0, 50), random.int(1, 200)];
      expect(Math.abs(score(distance, 0) - score(distance + shift, shift))).toBeLessThan(1e-3);
    }),
  );

  it("softmax survives numbers whose exponential overflows", () => {
    expect(softmax(floats(1e4, 1e4, -1e4))).toEqual(floats(0.5, 0.5, 0));
  });

  it("attention mixes values by the softmax of the scaled scores", () => {
    const keys = floats(0, 0, Math.log(3) * Math.SQRT2, 0); // scores 0 and log 3: weights 1/4 and 3/4
    expect(maxAbsDiff(attention(floats(1, 5), keys, floats(4, 8, 0, 16)), [1, 14])).toBeLessThan(1e-14);
  });

  it("silu", () => {
    expect(silu(0)).toBe(0);
    expect(silu(Math.log(3))).toBeCloseTo(Math.log(3) * 0.75, 14);
    expect(silu(-1000)).toBeCloseTo(0, 14);
  });

  it("argmax takes the lowest id of a tie", () => {
    expect(argmax(floats(-3, 7, 7, 2))).toBe(1);
    expect(argmax(floats(-Infinity, -Infinity))).toBe(0);
  });
});

describe("number formats", () => {
  const read = (dtype: string, ...words: number[]) => [
    ...toFloat32(new Uint8Array(Uint16Array.from(words).buffer), dtype, "t"),
  ];

  it("reads halves: normal, subnormal, zeros, infinities and NaN", () => {
    expect(read("F16", 0x3c00, 0xc500, 0x7bff, 0x3555)).toEqual([1, -5, 65504, 0.333251953125]);
    expect(read("F16", 0x0001, 0x03ff, 0x8000)).toEqual([2 ** -24, 1023 * 2 ** -24, -0]);
    expect(read("F16", 0x7c00, 0xfc00, 0x7e00)).toEqual([Infinity, -Infinity, NaN]);
  });

  it("reads bfloat16", () => {
    expect(read("BF16", 0x3f80, 0xc0a0, 0x4049, 0x7f80)).toEqual([1, -5, 3.140625, Infinity]);
  });

  it("rounds to the nearest bfloat16, ties to even", () => {
    expect([1, -5, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 0.1].map(bfloat16)).toEqual([
      1,
      -5,
      1,
      1 + 2 ** -6,
      1 + 2 ** -7,
      0.10009765625,
    ]);
  });

  it("refuses a format it does not know", () => {
    expect(() => read("I64", 0)).toThrow("not I64");
  });
});

describe("tools", () => {
  it("a NaN, or an infinity where none belongs, is infinitely far", () => {
    expect(relativeError([1, NaN], [1, 2])).toEqual({ error: Infinity, index: 1 });
    expect(relativeError([1, 2], [NaN, 2])).toEqual({ error: Infinity, index: 0 });
    expect(relativeError([1, Infinity], [1, 2])).toEqual({ error: Infinity, index: 1 });
    expect(relativeError([Infinity, 3], [Infinity, 2])).toEqual({ error: 0.5, index: 1 });
    expect(maxAbsDiff([NaN], [NaN])).toBe(Infinity);
  });

  it("the relative error is in units of the largest number expected", () => {
    expect(relativeError([10, 0.5, -20], [10, 0, -20])).toEqual({ error: 0.025, index: 1 });
    expect(relativeError([0, 0], [0, 0])).toEqual({ error: 0, index: 0 });
    expect(() => relativeError([1], [1, 2])).toThrow("1 numbers compared with 2");
  });

  it("a seed repeats its numbers", () => {
    const draw = (seed: number) => [...new Random(seed).normals(100)];
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  it(
    "normal numbers have mean 0 and variance 1, integers cover both ends",
    seeded((random) => {
      const values = [...random.normals(20_000)];
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
      expect(Math.abs(mean)).toBeLessThan(0.06); // 8 standard deviations
      expect(Math.abs(variance - 1)).toBeLessThan(0.08);
      expect(new Set(random.ints(1000, -2, 2))).toEqual(new Set([-2, -1, 0, 1, 2]));
    }),
  );

  it("a failure on random inputs names its seed", async () => {
    const failing = seeded(() => expect(1).toBe(2));
    await expect(failing()).rejects.toThrow(/LAYERLEAP_SEED=\d+/);
  });
});
