import { describe, test } from "vitest";
import { AddNormed, addNormedShape } from "../../src/kernels/add_normed.ts";
import { streamStride } from "../../src/kernels/matmul_form.ts";
import { paddedSize } from "../../src/kernels/weight_format.ts";
import { rmsNorm } from "../reference/ops.ts";
import { type Random, seeded } from "../reference/random.ts";
import {
  bits,
  expectSameBits,
  expectWithin,
  floats,
  openBench,
  poisoned,
  type Range,
  rowSet,
  type Words,
} from "./harness.ts";

const bench = openBench();

const ROWS = 20;
const EPSILON = 1e-5;

interface Case {
  size: number;
  /** `[ROWS][paddedSize]` */
  product: Float32Array<ArrayBuffer>;
  weight: Float32Array<ArrayBuffer>;
  nextWeight: Float32Array<ArrayBuffer>;
  /** `[ROWS][2][paddedSize]`: the residual, and poison in its padding and in what is written anew. */
  stream: Words;
}

/** Rows of very different sizes. What stands beside them must not be looked at. */
function randomCase(random: Random, size: number): Case {
  const padded = paddedSize(size);
  const product = new Float32Array(ROWS * padded).fill(NaN);
  const stream = poisoned(ROWS * streamStride(size));
  for (let row = 0; row < ROWS; row++) {
    product.set(random.normals(size, 10 ** random.int(-3, 4)), row * padded);
    stream.set(bits(random.normals(size, 10 ** random.int(-2, 2))), row * streamStride(size));
  }
  return { size, product, weight: random.normals(size), nextWeight: random.normals(size), stream };
}

/** Adds the rows of each range, each to a stream of its own. */
async function add(
  { size, product, weight, nextWeight, stream }: Case,
  ranges: readonly (Range & { bound?: number })[],
): Promise<Words[]> {
  const kernel = new AddNormed(bench.device);
  await kernel.prepare();
  const inputs = {
    range: bench.ranges(...ranges),
    shape: bench.uniform("shape", addNormedShape(size, EPSILON)),
    product: bench.upload("product", product),
    weight: bench.upload("weight", weight),
    nextWeight: bench.upload("next weight", nextWeight),
  };
  const streams = ranges.map(() => bench.upload("stream", stream));
  const results = await bench.run(
    (recorder) => {
      for (const [i, { count, bound = count }] of ranges.entries()) {
        kernel.dispatch(recorder, kernel.bind({ ...inputs, stream: streams[i]! }), rowSet(i, bound));
      }
    },
    ...streams,
  );
  bench.release();
  return results;
}

/**
 * Fails unless the stream holds the range's rows, and elsewhere what it held.
 *
 * The bound: half the roundings of the sum of K squares, a rounding being 2^-23 of a result at most, and some more for the
 * root and the products; the sum's own is a fraction of its terms.
 */
function expectAdded({ size, product, weight, nextWeight, stream }: Case, { first, count }: Range, got: Words): void {
  const padded = paddedSize(size);
  const bound = (size / 2 + 16) * 2 ** -23;
  const untouched = got.slice();
  for (let row = first; row < first + count; row++) {
    const at = row * 2 * padded;
    const added = rmsNorm(product.subarray(row * padded, row * padded + size), weight, EPSILON);
    const held = floats(stream).slice(at, at + size);
    const total = added.map((x, k) => x + held[k]!);
    const boundOf = (k: number) => bound * Math.abs(added[k]!) + 2 ** -22 * (Math.abs(added[k]!) + Math.abs(held[k]!));
    expectWithin(floats(got).subarray(at, at + size), total, boundOf, `size ${size}, row ${row}`);
    const gained = total.map((x, k) => x * nextWeight[k]!);
    expectWithin(
      floats(got).subarray(at + padded, at + padded + size),
      gained,
      (k) => (boundOf(k) + 2 ** -23 * Math.abs(total[k]!)) * Math.abs(nextWeight[k]!),
      `size ${size}, row ${row}, times the next norm's weight`,
    );
    for (const begin of [at, at + padded]) untouched.set(stream.subarray(begin, begin + size), begin);
  }
  expectSameBits(untouched, stream, `size ${size}: what is of no row of the range`);
}

describe("add_normed", () => {
  test.each([4, 64, 172, 200, 256, 260, 576, 2048])(
    "equals the formula on the rows of its range and writes nothing else, size %i",
    (size) =>
      seeded(async (random) => {
        for (const range of [
          { first: 0, count: 1 },
          { first: random.int(1, 5), count: random.int(2, 14) },
        ]) {
          const case_ = randomCase(random, size);
          case_.product.fill(NaN, 0, range.first * paddedSize(size));
          case_.product.fill(NaN, (range.first + range.count) * paddedSize(size));
          const [got] = await add(case_, [{ ...range, bound: range.count + 1 }]);
          expectAdded(case_, range, got!);
        }
      })(),
  );

  test(
    "epsilon alone scales a row of zeros, and one whose squares vanish",
    seeded(async (random) => {
      const case_ = randomCase(random, 64);
      case_.product.fill(0, 0, 64);
      case_.product.set(random.normals(64, 1e-25), 64);
      // Where the residual is nothing too, what is added shows.
      case_.stream.fill(0, 0, 64).fill(0, 128, 192);
      const range = { first: 0, count: 2 };
      const [got] = await add(case_, [range]);
      expectAdded(case_, range, got!);
    }),
  );

  test(
    "a row's bits do not depend on the other rows, on its number or on the grid",
    seeded(async (random) => {
      for (const size of [64, 172, 576]) {
        const case_ = randomCase(random, size);
        const stride = streamStride(size);
        const together = [
          { first: 0, count: ROWS },
          { first: 5, count: 9, bound: 12 },
        ];
        const alone = Array.from({ length: ROWS }, (_, first) => ({ first, count: 1 }));
        const results = await add(case_, [...alone, ...together]);
        for (const [i, { first, count }] of together.entries()) {
          const expected = case_.stream.slice();
          for (let row = first; row < first + count; row++) {
            expected.set(results[row]!.subarray(row * stride, (row + 1) * stride), row * stride);
          }
          expectSameBits(results[ROWS + i]!, expected, `size ${size}, rows ${first} + ${count}`);
        }
        // The same row under another number, in other company.
        const [from, to] = [random.int(0, 9), random.int(10, ROWS - 1)];
        const padded = paddedSize(size);
        const product = new Float32Array(case_.product.length).fill(NaN);
        product.set(case_.product.subarray(from * padded, (from + 1) * padded), to * padded);
        const stream = poisoned(case_.stream.length);
        stream.set(case_.stream.subarray(from * stride, (from + 1) * stride), to * stride);
        const [moved] = await add({ ...case_, product, stream }, [{ first: 1, count: ROWS - 1 }]);
        expectSameBits(
          moved!.slice(to * stride, (to + 1) * stride),
          results[from]!.slice(from * stride, (from + 1) * stride),
          `size ${size}, row ${from} as row ${to}`,
        );
      }
    }),
  );

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const case_ = randomCase(random, 64);
      const [got] = await add(case_, [{ first: 2, count: 0, bound: 4 }]);
      expectSameBits(got!, case_.stream, "the stream");
    }),
  );
});
