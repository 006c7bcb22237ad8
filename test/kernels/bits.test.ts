/** Row r of a pass of M rows equals the row alone, bit for bit: what keeps the text the same whatever is drafted. */

import { describe, test } from "vitest";
import { AttentionChunks, AttentionMerge, RopeKv, ropeKvShape, ropeRotations } from "../../src/kernels/attention.ts";
import { ROW_CAPACITY } from "../../src/kernels/constants.ts";
import { BUCKETS, FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import { type Random, seeded } from "../reference/random.ts";
import { attend, chain, ROWS, randomCase as randomAttention, tree } from "./attention_case.ts";
import { expectSameBits, openBench, type Range, rowSet } from "./harness.ts";
import { FORMS, outputWidth, randomCase, uploadCase, uploadOutput } from "./matmul_case.ts";

const bench = openBench();

/** Every number of rows of a bucket, and some that run as slabs. */
const ROW_COUNTS = [...Array.from({ length: 16 }, (_, i) => i + 1), 17, 23, 31, ROW_CAPACITY];

describe.each(FORMS)("few-row matmul, %s", (form) => {
  test(
    "a row's bits are the same in every pass, whatever its number of rows, its first row and the host's bound",
    seeded(async (random) => {
      const matmul = new FewRowMatmul(bench.device, form);
      for (const count of BUCKETS) await matmul.prepare(count);
      for (const [K, N] of [
        [4, 3],
        [64, 513],
        [172, 70],
        [200, 1],
        [576, 130],
      ] as const) {
        const case_ = randomCase(random, form, K, N);
        const width = outputWidth(case_);
        const alone = Array.from({ length: ROW_CAPACITY }, (_, first) => ({ first, count: 1, bound: 1 }));
        const together = ROW_COUNTS.flatMap((count) => {
          const first = random.int(0, ROW_CAPACITY - count);
          return [
            { first, count, bound: count },
            { first, count, bound: random.int(count, ROW_CAPACITY) },
          ];
        });
        const passes = [...alone, ...together];
        const shared = uploadCase(bench, case_, passes);
        const all = { first: 0, count: ROW_CAPACITY };
        const outputs = [
          uploadOutput(bench, case_, all),
          ...together.map((range) => uploadOutput(bench, case_, range)),
        ];
        const bound = outputs.map((output) => matmul.bind({ ...shared, output }, N));
        const [rows, ...results] = await bench.run(
          (recorder) => {
            for (const [i, pass] of passes.entries()) {
              const output = bound[Math.max(0, i - alone.length + 1)]!; // the one-row passes share the first
              matmul.record(recorder, output, rowSet(i, pass.bound));
            }
          },
          ...outputs,
        );
        for (const [i, { first, count, bound }] of together.entries()) {
          const range = [first * width, (first + count) * width] as const;
          const what = `K ${K}, N ${N}, rows ${first} + ${count}, bound ${bound}`;
          expectSameBits(results[i]!.slice(...range), rows!.slice(...range), what);
        }
        bench.release();
      }
    }),
  );
});

const SHAPE = { headDim: 16, heads: 6, kvHeads: 2 };
const WIDTH = (SHAPE.heads + 2 * SHAPE.kvHeads) * SHAPE.headDim;
const CACHE_WIDTH = SHAPE.kvHeads * SHAPE.headDim;
const ATTENDED_WIDTH = SHAPE.heads * SHAPE.headDim;

async function kernels() {
  const [chunks, merge] = [
    new AttentionChunks(bench.device, SHAPE.headDim),
    new AttentionMerge(bench.device, SHAPE.headDim),
  ];
  await Promise.all([chunks.prepare(), merge.prepare()]);
  return { chunks, merge };
}

/** Contexts of 1 to 3000, those around a chunk's edge among them. */
function contexts(random: Random): number[] {
  return [1, 2, 49, 63, 64, 65, 128, ...random.ints(3, 1, 300), ...random.ints(3, 301, 3000), 3000];
}

describe("attention", () => {
  test(
    "a row's bits are the same alone and among M, in any row of the table, whatever the grid and the capacity",
    seeded(async (random) => {
      const both = await kernels();
      for (const [i, start] of contexts(random).entries()) {
        const count = [2, 3, 5, 8, 9, 16, 17, ROWS][i % 8]!;
        const first = random.int(0, ROWS - count);
        const end = start - 1 + count;
        const case_ = randomAttention(random, SHAPE, chain(first, count, start - 1), { first, count, linear: end });
        const together = await attend(bench, both, case_, { count, end });

        for (const row of [first, first + count - 1, random.int(first, first + count - 1)]) {
          const { position } = case_.rows[row]!;
          // The row alone, in another row of the table, with nothing but NaN behind its position in the cache.
          const number = random.int(0, ROWS - 1);
          const qkv = new Float32Array(ROWS * WIDTH).fill(NaN);
          qkv.set(case_.qkv.subarray(row * WIDTH, (row + 1) * WIDTH), number * WIDTH);
          const keys = case_.keys.slice().fill(NaN, (position + 1) * CACHE_WIDTH);
          const values = case_.values.slice().fill(NaN, (position + 1) * CACHE_WIDTH);
          const range = { first: number, count: 1, linear: position + 1 };
          const aloneCase = { ...case_, qkv, keys, values, rows: chain(number, 1, position), range };
          const bound = { count: random.int(1, 8), end: position + 1 + random.int(0, 500) };
          const alone = await attend(bench, both, aloneCase, {
            ...bound,
            contextLength: bound.end + random.int(0, 500),
          });
          expectSameBits(
            together.slice(row * ATTENDED_WIDTH, (row + 1) * ATTENDED_WIDTH),
            alone.slice(number * ATTENDED_WIDTH, (number + 1) * ATTENDED_WIDTH),
            `position ${position}, as row ${row - first} of ${count}`,
          );
        }
      }
    }),
  );

  test(
    "a row's bits are the same whether its context is committed or in flight, in a chain or in a tree's scattered slots",
    seeded(async (random) => {
      const both = await kernels();
      for (const committed of [0, 1, 60, 64, random.int(1, 300), random.int(300, 3000)]) {
        const count = random.int(2, 16);
        const first = random.int(0, ROWS - count);
        const rows = tree(random, first, count, committed);
        const range = { first, count, linear: committed };
        const case_ = randomAttention(random, SHAPE, rows, range);
        const inTree = await attend(bench, both, case_, { count, end: committed + count });

        for (const row of [first + count - 1, random.int(first, first + count - 1)]) {
          // The same context laid out as plain decoding leaves it: each position in the slot of its number.
          const { position } = rows[row]!;
          const plain = { ...case_, keys: case_.keys.slice(), values: case_.values.slice() };
          for (let at = row, p = position; p >= committed; p--, at = rows[at]!.parent) {
            const slot = rows[at]!.slot * CACHE_WIDTH;
            plain.keys.set(case_.keys.subarray(slot, slot + CACHE_WIDTH), p * CACHE_WIDTH);
            plain.values.set(case_.values.subarray(slot, slot + CACHE_WIDTH), p * CACHE_WIDTH);
          }
          plain.rows = chain(row, 1, position);
          plain.range = { first: row, count: 1, linear: position + 1 };
          const alone = await attend(bench, both, plain, { count: 1, end: position + 1 });
          expectSameBits(
            inTree.slice(row * ATTENDED_WIDTH, (row + 1) * ATTENDED_WIDTH),
            alone.slice(row * ATTENDED_WIDTH, (row + 1) * ATTENDED_WIDTH),
            `row ${row - first} of a tree of ${count} behind ${committed}, position ${position}`,
          );
        }
      }
    }),
  );

  test(
    "rotated queries and keys of a row are the same alone and among 32",
    seeded(async (random) => {
      const kernel = new RopeKv(bench.device);
      await kernel.prepare();
      const contextLength = 600;
      const start = random.int(0, contextLength - ROWS);
      const input = random.normals(ROWS * WIDTH);
      const ranges: Range[] = [{ first: 0, count: ROWS }];
      for (let first = 0; first < ROWS; first++) ranges.push({ first, count: 1 });
      const shared = {
        range: bench.ranges(...ranges),
        shape: bench.uniform("shape", ropeKvShape(SHAPE)),
        rows: bench.rows(chain(0, ROWS, start)),
        rotations: bench.upload("rotations", ropeRotations(contextLength, SHAPE.headDim, 10_000)),
      };
      const state = () => ({
        qkv: bench.upload("qkv", input),
        keys: bench.output("keys", contextLength * CACHE_WIDTH),
        values: bench.output("values", contextLength * CACHE_WIDTH),
      });
      const [together, alone] = [state(), state()];
      const groups = [together, alone].map((buffers) => kernel.bind({ ...shared, ...buffers }));
      const [qkv, keys, values, qkvAlone, keysAlone, valuesAlone] = await bench.run(
        (recorder) => {
          kernel.dispatch(recorder, groups[0]!, rowSet(0, ROWS), SHAPE);
          for (let row = 0; row < ROWS; row++) kernel.dispatch(recorder, groups[1]!, rowSet(1 + row, 1), SHAPE);
        },
        ...([together.qkv, together.keys, together.values, alone.qkv, alone.keys, alone.values] as const),
      );
      expectSameBits(qkv, qkvAlone, "queries");
      expectSameBits(keys, keysAlone, "keys");
      expectSameBits(values, valuesAlone, "values");
    }),
  );
});
