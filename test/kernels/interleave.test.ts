import { describe, expect, test } from "vitest";
import { type FloatType, Interleave, interleaveShape } from "../../src/kernels/interleave.ts";
import { type Random, seeded } from "../reference/random.ts";
import { toFloat32 } from "../reference/safetensors.ts";
import { bits, expectSameBits, interleaved, openBench, POISON, poisoned, type Words } from "./harness.ts";

const bench = openBench();

/** Lays `rows` rows of K numbers into columns `firstColumn` and on of a poisoned matrix of `columns` columns. */
async function lay(
  type: FloatType,
  bytes: Uint8Array,
  { rows, K, firstColumn = 0, columns = rows }: { rows: number; K: number; firstColumn?: number; columns?: number },
): Promise<Words> {
  const source = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  source.set(bytes);
  const kernel = new Interleave(bench.device, type);
  await kernel.prepare();
  const weight = bench.output("weight", columns * K);
  const group = kernel.bind({
    shape: bench.uniform("shape", interleaveShape(rows, K, firstColumn, columns)),
    source: bench.upload("source", new Uint32Array(source.buffer)),
    weight,
  });
  const [actual] = await bench.run((r) => kernel.dispatch(r, group, rows), weight);
  bench.release();
  return actual;
}

/** Random bytes of finite numbers of a type. */
function numbers(random: Random, type: FloatType, count: number): Uint8Array {
  const values = random.normals(count, 10 ** random.int(-4, 3));
  if (type === "F32") return new Uint8Array(values.buffer);
  const halves = new Uint16Array(count);
  for (const [i, word] of bits(values).entries()) {
    if (type === "BF16") halves[i] = word >>> 16;
    else
      do halves[i] = random.int(0, 0xffff);
      while ((halves[i]! & 0x7c00) === 0x7c00); // any half but NaN, Infinity
  }
  return new Uint8Array(halves.buffer);
}

/** Every 16-bit pattern, so every half or bfloat16 there is. */
const ALL_HALVES = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);

describe("interleave", () => {
  test.each(["F32", "F16", "BF16"] as const)("%s: any shape lands in its columns and nowhere else", (type) =>
    seeded(async (random) => {
      for (const K of [4, 64, 172, 260, 576]) {
        for (const rows of [1, 3, 70]) {
          const firstColumn = random.pick([0, random.int(1, 100)]);
          const columns = firstColumn + rows + random.pick([0, random.int(1, 100)]);
          const bytes = numbers(random, type, rows * K);
          const actual = await lay(type, bytes, { rows, K, firstColumn, columns });
          const matrix = new Float32Array(columns * K);
          matrix.set(toFloat32(bytes, type, type), firstColumn * K);
          const expected = bits(interleaved(matrix, columns, K));
          for (let i = 0; i < expected.length; i++) {
            const column = (i >> 2) % columns;
            if (column < firstColumn || column >= firstColumn + rows) expected[i] = POISON;
          }
          expectSameBits(actual, expected, `${rows} rows of ${K} at column ${firstColumn} of ${columns}`);
        }
      }
    })(),
  );

  test(
    "parts laid side by side fill the whole matrix",
    seeded(async (random) => {
      const K = 72;
      const parts = [64, 8, 5];
      const columns = 77;
      const whole = numbers(random, "F32", columns * K);
      const actual = poisoned(columns * K);
      for (let firstColumn = 0, i = 0; i < parts.length; firstColumn += parts[i++]!) {
        const rows = parts[i]!;
        const bytes = whole.subarray(firstColumn * K * 4, (firstColumn + rows) * K * 4);
        const part = await lay("F32", bytes, { rows, K, firstColumn, columns });
        for (const [at, word] of part.entries()) if (word !== POISON) actual[at] = word;
      }
      expectSameBits(actual, bits(interleaved(toFloat32(whole, "F32", "whole"), columns, K)), "matrix");
    }),
  );

  test.each(["F16", "BF16"] as const)(
    "%s: all 65,536 patterns widen exactly as JavaScript decodes them",
    async (type) => {
      const actual = await lay(type, ALL_HALVES, { rows: 64, K: 1024 });
      const values = toFloat32(ALL_HALVES, type, type);
      const expected = bits(interleaved(values, 64, 1024));
      const wrong: string[] = [];
      for (const [i, word] of expected.entries()) {
        const bothNaN = isNaNWord(word) && isNaNWord(actual[i]!); // which NaN it is says nothing
        if (word !== actual[i] && !bothNaN) wrong.push(`${word.toString(16)}: ${actual[i]!.toString(16)}`);
      }
      expect(wrong.slice(0, 5)).toEqual([]);
    },
  );

  test("F32: extremes, zeros of both signs, subnormals and infinities come through", async () => {
    const values = Float32Array.of(3.4028234663852886e38, -3.4028234663852886e38, 2 ** -126, -(2 ** -126));
    const special = Float32Array.of(0, -0, Infinity, -Infinity, 2 ** -149, -(2 ** -127), 1 + 2 ** -23, 1 / 3);
    const all = Float32Array.of(...values, ...special);
    const actual = await lay("F32", new Uint8Array(all.buffer), { rows: 1, K: 12 });
    expectSameBits(actual, bits(all), "vector");
  });
});

function isNaNWord(word: number): boolean {
  return (word & 0x7fffffff) > 0x7f800000;
}
