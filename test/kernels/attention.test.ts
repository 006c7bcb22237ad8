import { describe, expect, test } from "vitest";
import {
  AttentionChunks,
  AttentionMerge,
  type HeadShape,
  RopeKv,
  ropeKvShape,
  ropeRotations,
} from "../../src/kernels/attention.ts";
import { rope } from "../reference/ops.ts";
import { type Random, seeded } from "../reference/random.ts";
import { type AttentionKernels, attend, chain, expectAttended, ROWS, randomCase, tree } from "./attention_case.ts";
import { bits, expectSameBits, expectWithin, floats, openBench, POISON, type Range, rowSet, U } from "./harness.ts";

const bench = openBench();

/** Head sizes with shapes that among them have 1, 3 and 4 key-value heads in groups of 1, 2 and 3 query heads. */
const SHAPES: HeadShape[] = [
  { headDim: 8, heads: 8, kvHeads: 4 },
  { headDim: 16, heads: 3, kvHeads: 3 },
  { headDim: 24, heads: 9, kvHeads: 3 },
  { headDim: 32, heads: 1, kvHeads: 1 },
  { headDim: 64, heads: 9, kvHeads: 3 },
  { headDim: 80, heads: 4, kvHeads: 4 },
  { headDim: 128, heads: 3, kvHeads: 1 },
  { headDim: 256, heads: 6, kvHeads: 3 },
];
const CONTEXTS = [1, 63, 64, 65, 200, 1000];

const compiled = new Map<number, AttentionKernels>();

async function kernels(headDim: number): Promise<AttentionKernels> {
  let both = compiled.get(headDim);
  if (!both) {
    both = { chunks: new AttentionChunks(bench.device, headDim), merge: new AttentionMerge(bench.device, headDim) };
    await Promise.all([both.chunks.prepare(), both.merge.prepare()]);
    compiled.set(headDim, both);
  }
  return both;
}

const shapeName = ({ headDim, heads, kvHeads }: HeadShape) => `${heads} / ${kvHeads} heads of ${headDim}`;

describe("attention/rope_kv", () => {
  test.each(SHAPES.map((shape) => [shapeName(shape), shape] as const))(
    "%s: queries turn in place, keys and values land in the row's slot, nothing else changes",
    (_, shape) =>
      seeded(async (random) => {
        const { heads, kvHeads, headDim } = shape;
        const contextLength = 700;
        const theta = random.pick([10_000, 500_000]);
        const range = { first: random.int(1, 20), count: random.int(1, 12) };
        const positions = [0, contextLength - 1, ...random.ints(ROWS - 2, 0, contextLength - 1)];
        const slots = new Set<number>();
        while (slots.size < ROWS) slots.add(random.int(0, contextLength - 1));
        const rows = [...slots].map((slot, i) => ({ slot, position: positions[(i - range.first + ROWS) % ROWS]! }));
        const width = (heads + 2 * kvHeads) * headDim;
        const input = random.normals(ROWS * width);

        const kernel = new RopeKv(bench.device);
        await kernel.prepare();
        const qkv = bench.upload("qkv", input);
        const keys = bench.output("keys", contextLength * kvHeads * headDim);
        const values = bench.output("values", contextLength * kvHeads * headDim);
        const group = kernel.bind({
          range: bench.ranges({ first: 0, count: 0 }, range),
          shape: bench.uniform("shape", ropeKvShape(shape)),
          rows: bench.rows(rows),
          rotations: bench.upload("rotations", ropeRotations(contextLength, headDim, theta)),
          qkv,
          keys,
          values,
        });
        const set = rowSet(1, Math.min(ROWS, range.count + 2));
        const [newQkv, newKeys, newValues] = await bench.run(
          (r) => kernel.dispatch(r, group, set, shape),
          qkv,
          keys,
          values,
        );

        // What must not have changed, with everything else copied from the result.
        const [untouchedQkv, untouchedKeys, untouchedValues] = [
          bits(input).slice(),
          newKeys.slice(),
          newValues.slice(),
        ];
        const cacheWidth = kvHeads * headDim;
        const written = new Set(rows.slice(range.first, range.first + range.count).map(({ slot }) => slot));
        for (let i = 0; i < untouchedKeys.length; i++) {
          if (written.has(Math.floor(i / cacheWidth))) continue;
          untouchedKeys[i] = POISON;
          untouchedValues[i] = POISON;
        }
        for (let row = range.first; row < range.first + range.count; row++) {
          const { position, slot } = rows[row]!;
          const qkvAt = (head: number) => row * width + head * headDim;
          const expectRotated = (actual: Float32Array, head: number, what: string) => {
            const x = input.subarray(qkvAt(head), qkvAt(head + 1));
            // Two products and their sum, each rounded once; cosine and sine are the very numbers of the formula.
            const within = (i: number) => 2 * U * (Math.abs(x[i]!) + Math.abs(x[(i + headDim / 2) % headDim]!));
            expectWithin(actual, rope(x, position, theta), within, `${what}: row ${row}, position ${position}`);
          };
          for (let head = 0; head < heads; head++) {
            const [from, to] = [qkvAt(head), qkvAt(head + 1)];
            expectRotated(floats(newQkv).subarray(from, to), head, `rope: query head ${head}`);
            untouchedQkv.set(newQkv.subarray(from, to), from);
          }
          for (let head = 0; head < kvHeads; head++) {
            const [from, to] = [slot * cacheWidth + head * headDim, slot * cacheWidth + (head + 1) * headDim];
            expectRotated(floats(newKeys).subarray(from, to), heads + head, `rope: key head ${head}`);
            const value = qkvAt(heads + kvHeads + head);
            expectSameBits(newValues.slice(from, to), bits(input.slice(value, value + headDim)), `value head ${head}`);
          }
        }
        expectSameBits(newQkv, untouchedQkv, "qkv but for the queries of the range");
        expectSameBits(newKeys, untouchedKeys, "keys in slots of no row");
        expectSameBits(newValues, untouchedValues, "values in slots of no row");
      })(),
  );
});

/** A range of rows that see `length` positions or a few more, as a chain. */
function chainCase(random: Random, shape: HeadShape, length: number, count: number) {
  const first = random.int(0, ROWS - count);
  const rows = chain(first, count, length - 1);
  return randomCase(random, shape, rows, { first, count, linear: length - 1 + count });
}

describe("attention over the cache", () => {
  describe.each(SHAPES.map((shape) => [shapeName(shape), shape] as const))("%s", (_, shape) => {
    test.each(CONTEXTS)("one row over %i positions equals the formula, whatever stands beyond them", (length) =>
      seeded(async (random) => {
        const case_ = chainCase(random, shape, length, 1);
        const actual = await attend(bench, await kernels(shape.headDim), case_, { count: 1, end: length });
        expectAttended(actual, case_, `attention: ${length} positions`);
      })(),
    );

    test(
      "each row of a chain sees the rows before it and not those behind it",
      seeded(async (random) => {
        const count = random.int(2, 6);
        const length = random.pick([1, 60, 64, 65, 126, random.int(1, 300)]);
        const case_ = chainCase(random, shape, length, count);
        const bound = { count: count + random.int(0, 2), end: length + count + random.int(0, 200) };
        const actual = await attend(bench, await kernels(shape.headDim), case_, bound);
        expectAttended(actual, case_, `attention: chain of ${count} after ${length - 1}`);
      }),
    );

    test(
      "each row of a tree sees the committed positions and its own ancestors, wherever their slots are",
      seeded(async (random) => {
        const count = random.int(2, 10);
        const committed = random.pick([0, 1, 62, 64, random.int(1, 300)]);
        const first = random.int(0, ROWS - count);
        const rows = tree(random, first, count, committed);
        const case_ = randomCase(random, shape, rows, { first, count, linear: committed });
        const bound = { count, end: committed + count };
        const actual = await attend(bench, await kernels(shape.headDim), case_, bound);
        expectAttended(actual, case_, `attention: tree of ${count} after ${committed}`);
      }),
    );
  });

  test(
    "a part of a tree's rows finds ancestors outside its range",
    seeded(async (random) => {
      const shape = SHAPES[0]!;
      const rows = tree(random, 3, 16, 50);
      const range = { first: 12, count: 7, linear: 50 };
      const case_ = randomCase(random, shape, rows, range);
      const actual = await attend(bench, await kernels(shape.headDim), case_, { count: 7, end: 66 });
      expectAttended(actual, case_, "attention: part of a tree");
    }),
  );

  test(
    "32 rows at once, as a chunk of a prompt is",
    seeded(async (random) => {
      const shape = SHAPES[0]!;
      const case_ = chainCase(random, shape, 50, ROWS);
      const actual = await attend(bench, await kernels(shape.headDim), case_, { count: ROWS, end: 49 + ROWS });
      expectAttended(actual, case_, "attention: 32 rows");
    }),
  );

  test(
    "scores far apart pick one key, and no exponential overflows",
    seeded(async (random) => {
      const shape = SHAPES[0]!;
      const { headDim } = shape;
      const length = 130;
      const case_ = chainCase(random, shape, length, 1);
      const width = (shape.heads + 2 * shape.kvHeads) * headDim;
      const at = case_.range.first * width;
      case_.qkv.fill(1, at, at + shape.heads * headDim);
      // The scores run from -400 to 400 in no order; the next best key is some 6 behind the best.
      const order = Array.from({ length }, (_, position) => ({ position, key: random.uniform() }))
        .sort((a, b) => a.key - b.key)
        .map(({ position }) => position);
      for (const [rank, position] of order.entries()) {
        const score = ((rank / (length - 1)) * 800 - 400) / Math.sqrt(headDim);
        case_.keys.fill(score, position * shape.kvHeads * headDim, (position + 1) * shape.kvHeads * headDim);
      }
      const actual = await attend(bench, await kernels(headDim), case_, { count: 1, end: length });
      expectAttended(actual, case_, "attention: scores far apart");
    }),
  );

  test("equal scores give the mean of the values", async () => {
    const shape = { headDim: 8, heads: 1, kvHeads: 1 };
    const length = 200;
    const rows = chain(0, 1, length - 1);
    const qkv = new Float32Array(ROWS * 24);
    const keys = new Float32Array(length * 8).fill(1);
    const values = Float32Array.from({ length: length * 8 }, (_, i) => Math.floor(i / 8));
    const range = { first: 0, count: 1, linear: length };
    const case_ = { shape, slots: length, qkv, keys, values, rows, range };
    const actual = floats(await attend(bench, await kernels(8), case_, { count: 1, end: length }));
    for (const x of actual.subarray(0, 8)) expect(x).toBeCloseTo(99.5, 3);
  });

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const case_ = { ...chainCase(random, SHAPES[0]!, 100, 4) };
      const nothing: Required<Range> = { ...case_.range, count: 0 };
      const empty = { ...case_, range: nothing };
      const actual = await attend(bench, await kernels(SHAPES[0]!.headDim), empty, { count: 4, end: 104 });
      expect(actual.every((word) => word === POISON)).toBe(true);
    }),
  );
});
