/** Queries and keys normed and rotated, each head by itself or all of a row together, and put where attention reads them. */

import { describe, test } from "vitest";
import type { HeadShape } from "../../src/kernels/attention_shape.ts";
import { cacheNumbers, KV_BYTES, type KvType } from "../../src/kernels/kv_format.ts";
import { PlaceHeads, placeHeadsShape } from "../../src/kernels/place_heads.ts";
import { ropeRotations } from "../../src/kernels/rope.ts";
import { rmsNorm, rope } from "../reference/ops.ts";
import { type Random, seeded } from "../reference/random.ts";
import { fullMatrix } from "../slow.ts";
import { expectSameBits, expectWithin, openBench, poisoned, type Range, rowSet, type Words } from "./harness.ts";
import { HEADS, headShapeOf } from "./matmul_inputs.ts";

const bench = openBench();

const ROWS = 12;
/** Positions that have rotations; slots of the cache. */
const POSITIONS = 40;
const SLOTS = 50;
const THETA = 10_000;
const EPSILON = 1e-5;
const KV = ["f32", "f16"] as const;
const NORMS = ["head", "row"] as const;

interface Case {
  shape: HeadShape;
  norm: (typeof NORMS)[number];
  kv: KvType;
  /** `[ROWS]` */
  rows: { position: number; slot: number }[];
  /** `[ROWS][heads + 2 * kvHeads][headDim]` */
  projected: Float32Array<ArrayBuffer>;
  queryNorm: Float32Array<ArrayBuffer>;
  keyNorm: Float32Array<ArrayBuffer>;
}

function strideOf({ heads, kvHeads, headDim }: HeadShape): number {
  return (heads + 2 * kvHeads) * headDim;
}

/** Rows of very different sizes, none beyond what f16 holds, at random positions, each in a slot of its own. */
function randomCase(random: Random, shape: HeadShape, norm: Case["norm"], kv: KvType): Case {
  const { heads, kvHeads, headDim } = shape;
  const slots = new Set<number>();
  while (slots.size < ROWS) slots.add(random.int(0, SLOTS - 1));
  const projected = new Float32Array(ROWS * strideOf(shape));
  for (let row = 0; row < ROWS; row++) {
    projected.set(random.normals(strideOf(shape), 10 ** random.int(-3, 3)), row * strideOf(shape));
  }
  const weight = (count: number) => random.normals(norm === "row" ? count * headDim : headDim);
  const rows = [...slots].map((slot) => ({ slot, position: random.int(0, POSITIONS - 1) }));
  return { shape, norm, kv, rows, projected, queryNorm: weight(heads), keyNorm: weight(kvHeads) };
}

type Output = "queries" | "keys" | "values";

/** Words of a row's heads in an output. */
function wordsOf({ shape: { heads, kvHeads, headDim }, kv }: Case, name: Output): number {
  return name === "queries" ? heads * headDim : (kvHeads * headDim * KV_BYTES[kv]) / 4;
}

/** Places the rows of each range, into poison each time. */
async function place(case_: Case, ranges: readonly (Range & { bound?: number })[]): Promise<Record<Output, Words>[]> {
  const { shape, norm, kv } = case_;
  const kernel = new PlaceHeads(bench.device, kv);
  await kernel.prepare();
  const rotary = { ropeTheta: THETA, rotaryDim: shape.headDim, scaling: { type: "default" } } as const;
  const inputs = {
    range: bench.ranges(...ranges),
    shape: bench.uniform("shape", placeHeadsShape(shape, norm, EPSILON)),
    rows: bench.rows(case_.rows),
    projected: bench.upload("projected", case_.projected),
    queryNorm: bench.upload("query norm", case_.queryNorm),
    keyNorm: bench.upload("key norm", case_.keyNorm),
    rotations: bench.upload("rotations", ropeRotations(POSITIONS, shape.headDim, rotary)),
  };
  const outputs = ranges.map(() => ({
    queries: bench.output("queries", ROWS * wordsOf(case_, "queries")),
    keys: bench.output("keys", SLOTS * wordsOf(case_, "keys")),
    values: bench.output("values", SLOTS * wordsOf(case_, "values")),
  }));
  const words = await bench.run(
    (recorder) => {
      for (const [i, { count, bound = count }] of ranges.entries()) {
        kernel.dispatch(recorder, kernel.bind({ ...inputs, ...outputs[i]! }), rowSet(i, bound), shape);
      }
    },
    ...outputs.flatMap(({ queries, keys, values }) => [queries, keys, values]),
  );
  bench.release();
  return ranges.map((_, i) => ({ queries: words[3 * i]!, keys: words[3 * i + 1]!, values: words[3 * i + 2]! }));
}

/** Where a row's heads are in an output: words [begin, end). */
function placeOf(case_: Case, name: Output, row: number): [begin: number, end: number] {
  const width = wordsOf(case_, name);
  const at = name === "queries" ? row : case_.rows[row]!.slot;
  return [at * width, (at + 1) * width];
}

/**
 * Fails unless the outputs hold the range's rows and, elsewhere, poison.
 *
 * The bound: half the roundings of the sum of K squares, a rounding being 2^-23 of a result at most, some more for the root,
 * the weight and the rotation; and f16's own.
 */
function expectPlaced(case_: Case, { first, count }: Range, outputs: Readonly<Record<Output, Words>>): void {
  const { shape, norm, kv, rows, projected } = case_;
  const { heads, kvHeads, headDim } = shape;
  const kinds = {
    queries: { begin: 0, size: heads * headDim, weight: case_.queryNorm },
    keys: { begin: heads * headDim, size: kvHeads * headDim, weight: case_.keyNorm },
    values: { begin: (heads + kvHeads) * headDim, size: kvHeads * headDim, weight: undefined },
  };
  for (const [name, { begin, size, weight }] of Object.entries(kinds) as [Output, (typeof kinds)[Output]][]) {
    const type = name === "queries" ? "f32" : kv;
    const untouched = outputs[name].slice();
    for (let row = first; row < first + count; row++) {
      const { position } = rows[row]!;
      const own = projected.subarray(row * strideOf(shape) + begin).subarray(0, size);
      const together = norm === "row" ? size : headDim;
      const normed = inPieces(own, together, (piece) => (weight ? rmsNorm(piece, weight, EPSILON) : piece));
      const expected = inPieces(normed, headDim, (head) => (weight ? rope(head, position, THETA) : head));
      const [from, to] = placeOf(case_, name, row);
      const what = `${name} of row ${row}: ${JSON.stringify({ ...shape, norm, kv, position })}`;
      const got = cacheNumbers(type, headDim, outputs[name].slice(from, to));
      const bound = (k: number) => {
        const partner = normed[k % headDim < headDim / 2 ? k + headDim / 2 : k - headDim / 2]!;
        const terms = Math.abs(normed[k]!) + Math.abs(partner);
        const half = type === "f16" ? 2 ** -10 * Math.abs(expected[k]!) + 2 ** -24 : 0;
        return half + (weight ? (together / 2 + 16) * 2 ** -23 * terms : 0);
      };
      expectWithin(got, expected, bound, what);
      untouched.fill(poisoned(1)[0]!, from, to);
    }
    expectSameBits(untouched, poisoned(untouched.length), `${name} of no row of the range`);
  }
}

function inPieces(
  numbers: Float32Array | Float64Array,
  size: number,
  of: (piece: Float32Array | Float64Array) => Float32Array | Float64Array,
): Float64Array {
  const result = new Float64Array(numbers.length);
  for (let k = 0; k < numbers.length; k += size) result.set(of(numbers.subarray(k, k + size)), k);
  return result;
}

describe.each(fullMatrix({ norm: NORMS, kv: KV }))("place_heads, each $norm normed, KV $kv", ({ norm, kv }) => {
  test.each([8, 24, 64, 80, 128, 256])("heads of %i: the formula, and nothing else is written", (headDim) =>
    seeded(async (random) => {
      for (const heads of HEADS) {
        const case_ = randomCase(random, headShapeOf(heads, headDim), norm, kv);
        const range = { first: random.int(1, 4), count: random.int(1, 7) };
        const stride = strideOf(case_.shape);
        // Rows outside the range may hold anything.
        case_.projected.fill(NaN, 0, range.first * stride).fill(NaN, (range.first + range.count) * stride);
        const [outputs] = await place(case_, [{ ...range, bound: range.count + 1 }]);
        expectPlaced(case_, range, outputs!);
      }
    })(),
  );

  test(
    "epsilon alone scales a row of zeros, and one whose squares vanish",
    seeded(async (random) => {
      const case_ = randomCase(random, headShapeOf("3/1", 24), norm, kv);
      const stride = strideOf(case_.shape);
      case_.projected.fill(0, 0, stride);
      case_.projected.set(random.normals(stride, 1e-25), stride);
      const range = { first: 0, count: 2 };
      const [outputs] = await place(case_, [range]);
      expectPlaced(case_, range, outputs!);
    }),
  );

  test(
    "a row's bits do not depend on the rows beside it, on its number or on the grid",
    seeded(async (random) => {
      for (const headDim of [24, 128]) {
        const case_ = randomCase(random, headShapeOf("9/3", headDim), norm, kv);
        const alone = Array.from({ length: ROWS }, (_, first) => ({ first, count: 1 }));
        const together = [
          { first: 0, count: ROWS },
          { first: 3, count: 7, bound: 9 },
        ];
        const results = await place(case_, [...alone, ...together]);
        for (const [i, { first, count }] of together.entries()) {
          for (const name of ["queries", "keys", "values"] as const) {
            const expected = poisoned(results[0]![name].length);
            for (let row = first; row < first + count; row++) {
              const [from, to] = placeOf(case_, name, row);
              expected.set(results[row]![name].subarray(from, to), from);
            }
            expectSameBits(
              results[ROWS + i]![name],
              expected,
              `${name}, rows ${first} + ${count}, heads of ${headDim}`,
            );
          }
        }
        // The same row under another number, in other company.
        const stride = strideOf(case_.shape);
        const [from, to] = [random.int(0, 5), random.int(6, ROWS - 1)];
        const moved = { ...case_, rows: case_.rows.slice(), projected: case_.projected.slice().fill(NaN) };
        moved.rows[to] = case_.rows[from]!;
        moved.rows[from] = case_.rows[to]!;
        moved.projected.set(case_.projected.subarray(from * stride, (from + 1) * stride), to * stride);
        const [other] = await place(moved, [{ first: 1, count: ROWS - 1 }]);
        for (const name of ["queries", "keys", "values"] as const) {
          const at = placeOf(moved, name, to);
          expectSameBits(
            other![name].slice(...at),
            results[from]![name].slice(...placeOf(case_, name, from)),
            `${name} of row ${from} as row ${to}, heads of ${headDim}`,
          );
        }
      }
    }),
  );

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const range = { first: 3, count: 0, bound: 4 };
      const case_ = randomCase(random, headShapeOf("3/1", 8), norm, kv);
      const [outputs] = await place(case_, [range]);
      expectPlaced(case_, range, outputs!);
    }),
  );
});
