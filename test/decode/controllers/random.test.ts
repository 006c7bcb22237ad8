import { describe, expect, test } from "vitest";
import { Random } from "../../../src/decode/controllers/random.ts";

const COUNT = 20_000;

function moments(draw: (random: Random) => number): { mean: number; variance: number } {
  const random = new Random(7);
  const values = Array.from({ length: COUNT }, () => draw(random));
  const mean = values.reduce((sum, value) => sum + value, 0) / COUNT;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / COUNT };
}

describe("random numbers", () => {
  test("are the seed's", () => {
    const draw = (seed: number) =>
      Array.from(
        { length: 5 },
        (
          (random) => () =>
            random.uniform()
        )(new Random(seed)),
      );
    expect(draw(3)).toEqual(draw(3));
    expect(draw(3)).not.toEqual(draw(4));
  });

  test("have the moments of their distributions", () => {
    const uniform = moments((random) => random.uniform());
    expect(uniform.mean).toBeCloseTo(1 / 2, 1.7);
    expect(uniform.variance).toBeCloseTo(1 / 12, 2);
    const normal = moments((random) => random.normal());
    expect(Math.abs(normal.mean)).toBeLessThan(0.03);
    expect(Math.abs(normal.variance - 1)).toBeLessThan(0.05);
    for (const [a, b] of [
      [1, 1],
      [0.4, 1.6],
      [8, 2],
    ] as const) {
      const beta = moments((random) => random.beta(a, b));
      expect(Math.abs(beta.mean - a / (a + b))).toBeLessThan(0.01);
      expect(Math.abs(beta.variance - (a * b) / ((a + b) ** 2 * (a + b + 1)))).toBeLessThan(0.005);
    }
    for (const shape of [0.5, 1, 4]) {
      const gamma = moments((random) => random.gamma(shape));
      expect(Math.abs(gamma.mean / shape - 1)).toBeLessThan(0.05);
      expect(Math.abs(gamma.variance / shape - 1)).toBeLessThan(0.1);
    }
  });
});
