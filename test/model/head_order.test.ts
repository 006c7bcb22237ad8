/** The order of a head's elements: nothing is lost, and what is multiplied with what stays as it was. */

import { describe, expect, test } from "vitest";
import { ropeRotations } from "../../src/kernels/rope.ts";
import { headPlace, inHeadOrder } from "../../src/model/head_order.ts";
import type { HeadOrder, RopeSpec } from "../../src/model/spec.ts";
import { type Random, seeded } from "../reference/random.ts";
import { rotateHead } from "../reference/rope.ts";

const ORDERS: HeadOrder[] = [
  [8, 8],
  [64, 64],
  [16, 8],
  [16, 4],
  [24, 20],
  [128, 96],
  [16, 14],
].flatMap(([headDim, rotaryDim]) =>
  [false, true].map((interleaved) => ({ headDim: headDim!, rotaryDim: rotaryDim!, interleaved })),
);

const places = (order: HeadOrder) => Array.from({ length: order.headDim }, (_, element) => headPlace(order, element));

/** As llama.cpp's conversion orders the rows of queries and keys: `reshape(heads, 2, dim / 2).swapaxes(1, 2)`. */
function permute<T>(rows: readonly T[], heads: number): T[] {
  const dim = rows.length / heads;
  const permuted: T[] = [];
  for (let head = 0; head < heads; head++) {
    for (let pair = 0; pair < dim / 2; pair++) {
      for (const half of [0, 1]) permuted.push(rows[head * dim + half * (dim / 2) + pair]!);
    }
  }
  return permuted;
}

describe.each(ORDERS)("$rotaryDim of $headDim, interleaved: $interleaved", (order) => {
  const { headDim, rotaryDim, interleaved } = order;

  test("every place is taken once", () => {
    expect(places(order).sort((a, b) => a - b)).toEqual(Array.from({ length: headDim }, (_, i) => i));
  });

  test("the elements of a pair are half a head apart, and pairs come first, in their order", () => {
    const taken = places(order);
    for (let pair = 0; pair < rotaryDim / 2; pair++) {
      const [first, second] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + rotaryDim / 2];
      expect([taken[first], taken[second]]).toEqual([pair, pair + headDim / 2]);
    }
    const rest = taken.slice(rotaryDim);
    expect(rest.every((place) => place % (headDim / 2) >= rotaryDim / 2)).toBe(true);
    expect(rest, "in their order").toEqual(rest.toSorted((a, b) => a - b));
  });

  test(
    "scores after RoPE are those of the checkpoint's order",
    seeded((random) => {
      const angles = Array.from({ length: rotaryDim / 2 }, (_, i) => 1e4 ** ((-2 * i) / rotaryDim));
      const rope: RopeSpec = { ropeTheta: 1e4, rotaryDim, scaling: { type: "default" } };
      const rotations = ropeRotations(64, headDim, rope);
      const [query, key] = [random.normals(headDim), random.normals(headDim)];
      const [at, before] = [random.int(0, 63), random.int(0, 63)];
      const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
        let sum = 0;
        for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
        return sum;
      };
      const expected = dot(
        rotateHead(halves(query, order), at, { angles, factor: 1 }),
        rotateHead(halves(key, order), before, { angles, factor: 1 }),
      );
      const engine = (head: ArrayLike<number>, position: number) =>
        rotateAsTheEngine(inHeadOrder(Float32Array.from(head), order), position, rotations);
      expect(dot(engine(query, at), engine(key, before))).toBeCloseTo(expected, 4);
    }),
  );
});

/** A head in Hugging Face's order, of one in the checkpoint's. */
function halves(head: ArrayLike<number>, { rotaryDim, interleaved }: HeadOrder): number[] {
  const all = Array.from(head);
  if (!interleaved) return all;
  const pairs = Array.from({ length: rotaryDim / 2 }, (_, pair) => pair);
  return [...pairs.map((pair) => all[2 * pair]!), ...pairs.map((pair) => all[2 * pair + 1]!), ...all.slice(rotaryDim)];
}

/** Every element of the first half turns with the one half a head on (shaders/matmul/qkv.wgsl). */
function rotateAsTheEngine(head: Float32Array, position: number, rotations: Float32Array): number[] {
  const half = head.length / 2;
  const rotated = Array.from(head);
  for (let i = 0; i < half; i++) {
    const [cos, sin] = [rotations[(position * half + i) * 2]!, rotations[(position * half + i) * 2 + 1]!];
    rotated[i] = head[i]! * cos - head[i + half]! * sin;
    rotated[i + half] = head[i + half]! * cos + head[i]! * sin;
  }
  return rotated;
}

test("a whole head in halves stays as it is", () => {
  const order = { headDim: 16, rotaryDim: 16, interleaved: false };
  expect(places(order)).toEqual(Array.from({ length: 16 }, (_, i) => i));
});

test("what llama.cpp permuted is Hugging Face's order again", () => {
  for (const [heads, headDim] of [
    [1, 8],
    [3, 16],
    [2, 64],
  ] as const) {
    const rows = Array.from({ length: heads * headDim }, (_, row) => row);
    const stored = Float32Array.from(permute(rows, heads));
    expect([...inHeadOrder(stored, { headDim, rotaryDim: headDim, interleaved: true })]).toEqual(rows);
  }
});

test("a part that is rotated, by hand", () => {
  const places8 = (interleaved: boolean) => places({ headDim: 8, rotaryDim: 4, interleaved });
  expect(places8(false)).toEqual([0, 1, 4, 5, 2, 3, 6, 7]);
  expect(places8(true)).toEqual([0, 4, 1, 5, 2, 3, 6, 7]);
});

test(
  "heads are ordered each for itself",
  seeded((random: Random) => {
    const order = { headDim: 16, rotaryDim: 8, interleaved: true };
    const heads = [0, 1, 2].map(() => Float32Array.from(random.normals(16)));
    const together = inHeadOrder(Float32Array.from(heads.flatMap((head) => [...head])), order);
    expect([...together]).toEqual(heads.flatMap((head) => [...inHeadOrder(head, order)]));
  }),
);
