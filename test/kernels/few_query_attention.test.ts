import { beforeAll, describe, expect, test } from "vitest";
import { Recorder } from "../../src/gpu/commands.ts";
import { attentionShape, chunkCount, type HeadShape, type ScoreRule } from "../../src/kernels/attention_shape.ts";
import { KEYS_PER_CHUNK, NONE, PAGE_SLOTS } from "../../src/kernels/constants.ts";
import { FewQueryAttention, type FewQueryOptions } from "../../src/kernels/few_query_attention.ts";
import type { KvType } from "../../src/kernels/kv_format.ts";
import { pagesInOrder } from "../../src/kernels/rows.ts";
import { type Random, seeded } from "../reference/random.ts";
import {
  type AttentionInputs,
  CONTEXTS,
  cached,
  chain,
  everyKernel,
  expectAttended,
  headShape,
  KV_TYPES,
  pageTable,
  pairsOfKernels,
  type Rows,
  RULES,
  type Rule,
  randomInputs,
  scoreRule,
  tableRows,
  tree,
  visibleSlots,
  withoutGaps,
} from "./attention_inputs.ts";
import { expectSameBits, floats, openBench, POISON, rowSet, TABLE_ROWS, type TableRow, type Words } from "./harness.ts";
import { slotIn } from "./page_tables.ts";

const bench = openBench();

const VARIANTS = ["threads", "workgroup"] as const;
/** Rows in flight behind committed ones; `committed chain`: all are taken for committed. */
const PASSES = ["one row", "chain", "tree", "committed chain"] as const;
type Pass = (typeof PASSES)[number];

/** The rows of a pass, and what the host may know of them. */
function passOf(random: Random, pass: Pass, context: number) {
  const count = pass === "one row" ? 1 : random.pick([2, 3, 5, 6, 9]);
  const first = random.int(0, TABLE_ROWS - count);
  const start = context - 1;
  const rows = pass === "tree" ? tree(random, TABLE_ROWS, first, count, start) : chain(TABLE_ROWS, first, count, start);
  const linear = pass === "committed chain" ? start + count : start;
  const bound = { count: count + random.int(0, 2), end: start + count + random.pick([0, 1, 200]) };
  return { rows, range: { first, count, linear }, bound };
}

const compiled = new Map<string, Promise<FewQueryAttention>>();

function kernels(options: FewQueryOptions): Promise<FewQueryAttention> {
  const key = JSON.stringify(options);
  let both = compiled.get(key);
  if (!both) {
    const made = new FewQueryAttention(bench.device, options);
    both = made.prepare().then(() => made);
    compiled.set(key, both);
  }
  return both;
}

interface Bound {
  /** What the host knows of the range: number of rows, and end of the positions. */
  count: number;
  end: number;
  /** Positions that the partial results have room for. */
  contextLength?: number;
}

/** Runs both stages. Returns the output and the partial softmax. */
async function attend(
  attention: FewQueryAttention,
  inputs: AttentionInputs & { given?: { rows: TableRow[]; table: Uint32Array<ArrayBuffer>; lanePages: number } },
  { count, end, contextLength = end }: Bound,
): Promise<readonly [attended: Words, partialSoftmax: Words]> {
  const { shape, rule, kvType, queries, keys, values, rows, range, pages } = inputs;
  const own = { rows: tableRows(inputs), table: pageTable(inputs), lanePages: pages.length };
  const { given = own } = inputs;
  const { heads, headDim } = shape;
  const partials = rows.length * heads * chunkCount(contextLength);
  const partialSoftmax = bench.output("partial softmax", partials * 2);
  // Other than the width: the next kernel may want the rows padded.
  const stride = heads * headDim + 32;
  const attended = bench.output("attended", rows.length * stride);
  const group = attention.bind({
    range: bench.ranges({ first: 0, count: 0 }, range),
    shape: bench.uniform("shape", attentionShape(shape, contextLength, rule, stride, given.lanePages)),
    rows: bench.rows(given.rows),
    queries: bench.upload("queries", queries),
    keys: bench.upload("keys", cached(keys, kvType, headDim)),
    values: bench.upload("values", cached(values, kvType, headDim)),
    pages: bench.upload("pages", given.table),
    partialSums: bench.output("partial sums", partials * headDim),
    partialSoftmax,
    attended,
  });
  const results = await bench.run(
    (recorder) => attention.dispatch(recorder, group, rowSet(1, count, end)),
    attended,
    partialSoftmax,
  );
  bench.release();
  return [withoutGaps(results[0], heads * headDim, stride), results[1]];
}

async function expectFormula(random: Random, options: FewQueryOptions, rule: Rule, pass: Pass, context: number) {
  const { kvType, variant, ...shape } = options;
  const { rows, range, bound } = passOf(random, pass, context);
  const inputs = randomInputs(random, { shape, rule: scoreRule(random, rule), kvType }, rows, range);
  const [attended] = await attend(await kernels(options), inputs, bound);
  const what = `${variant}, ${kvType}, ${pass} of ${range.count}, context ${context}, ${JSON.stringify(inputs.rule)}`;
  expectAttended(attended, inputs, what);
}

describe("attention of few rows equals the formula, whatever stands where no row may look", () => {
  const full = everyKernel(VARIANTS);
  const pairs = pairsOfKernels(VARIANTS, { pass: PASSES, context: CONTEXTS });
  const optionsOf = ({ headDim, heads, kvType, variant }: (typeof full)[number]): FewQueryOptions => ({
    ...headShape(heads, headDim),
    kvType,
    variant,
  });

  // Side by side: compiling is most of the time that this file takes.
  beforeAll(async () => {
    await Promise.all(pairs.map((case_) => kernels(optionsOf(case_))));
  }, 600_000);

  test.each(full)("$variant, $heads heads of $headDim in $kvType, every rule and pass", (case_) =>
    seeded(async (random) => {
      for (const [i, rule] of RULES.entries()) {
        for (const [j, pass] of PASSES.entries()) {
          const context = CONTEXTS[(i * PASSES.length + j + random.int(0, 1)) % CONTEXTS.length]!;
          await expectFormula(random, optionsOf(case_), rule, pass, context);
        }
      }
    })(),
  );

  test.each(pairs)("$variant, $heads heads of $headDim in $kvType, $rule, $pass, context $context", (case_) =>
    seeded((random) => expectFormula(random, optionsOf(case_), case_.rule, case_.pass, case_.context))(),
  );
});

/** For the tests of properties: groups of a size that no block is a multiple of, so that rows share blocks unevenly. */
const SHAPE: HeadShape = { heads: 10, kvHeads: 2, headDim: 16 };
const WIDTH = SHAPE.heads * SHAPE.headDim;
const CACHE_WIDTH = SHAPE.kvHeads * SHAPE.headDim;

describe.each(VARIANTS)("attention of few rows, %s", (variant) => {
  const options = (kvType: KvType = "f32"): FewQueryOptions => ({ ...SHAPE, kvType, variant });

  function chainInputs(random: Random, length: number, count: number, rule: ScoreRule = {}): AttentionInputs {
    const first = random.int(0, TABLE_ROWS - count);
    const rows = chain(TABLE_ROWS, first, count, length - 1);
    return randomInputs(random, { shape: SHAPE, rule, kvType: "f32" }, rows, { first, count, linear: length - 1 });
  }

  test(
    "a part of a tree's rows finds ancestors outside its range",
    seeded(async (random) => {
      const rows = tree(random, TABLE_ROWS, 3, 16, 50);
      const range = { first: 12, count: 7, linear: 50 };
      const inputs = randomInputs(random, { shape: SHAPE, rule: {}, kvType: "f32" }, rows, range);
      const [attended] = await attend(await kernels(options()), inputs, { count: 7, end: 66 });
      expectAttended(attended, inputs, "part of a tree");
    }),
  );

  test(
    "chunks out of a row's window are neither computed nor merged, those in it are",
    seeded(async (random) => {
      for (const window of [1, 64, 65, 130]) {
        const inputs = chainInputs(random, random.int(400, 700), 4, { window });
        const end = inputs.rows[inputs.range.first + 3]!.position + 1;
        const [attended, partialSoftmax] = await attend(await kernels(options()), inputs, { count: 4, end });
        expectAttended(attended, inputs, `window ${window}`);
        for (let row = 0; row < 4; row++) {
          const number = inputs.range.first + row;
          const seen = visibleSlots(inputs, number, inputs.rule).length;
          const { position } = inputs.rows[number]!;
          const chunks = new Set(Array.from({ length: seen }, (_, i) => Math.floor((position - i) / KEYS_PER_CHUNK)));
          for (let chunk = 0; chunk < chunkCount(end); chunk++) {
            const at = (number * SHAPE.heads * chunkCount(end) + chunk) * 2;
            expect(partialSoftmax[at] !== POISON, `window ${window}, row ${row}, chunk ${chunk}`).toBe(
              chunks.has(chunk),
            );
          }
        }
      }
    }),
  );

  test(
    "NaN in a row's own key and value stays with the rows that see it",
    seeded(async (random) => {
      // In flight, in a chunk of its own kind; and committed, where a chunk's rows see different keys of it.
      for (const linear of [100, 110]) {
        const inputs = { ...chainInputs(random, 101, 6), range: { first: 0, count: 6, linear } };
        const rows = chain(TABLE_ROWS, 0, 6, 100);
        const clean = randomInputs(random, { ...inputs }, rows, inputs.range);
        const spoilt = { ...clean, keys: clean.keys.slice(), values: clean.values.slice() };
        const slot = slotIn(clean.pages, 103);
        spoilt.keys.fill(NaN, slot * CACHE_WIDTH, (slot + 1) * CACHE_WIDTH);
        spoilt.values.fill(NaN, slot * CACHE_WIDTH, (slot + 1) * CACHE_WIDTH);
        const both = await kernels(options());
        const [expected] = await attend(both, clean, { count: 6, end: 106 });
        const [actual] = await attend(both, spoilt, { count: 6, end: 106 });
        expectSameBits(actual.slice(0, 3 * WIDTH), expected.slice(0, 3 * WIDTH), "rows before the NaN");
        expect(floats(actual.slice(3 * WIDTH, 6 * WIDTH)).every(Number.isNaN), "rows from the NaN on").toBe(true);
      }
    }),
  );

  test(
    "scores far apart pick one key, and no exponential overflows",
    seeded(async (random) => {
      for (const rule of [{}, { softCap: 300 }]) {
        const length = 130;
        const inputs = chainInputs(random, length, 1, rule);
        const at = inputs.range.first * WIDTH;
        inputs.queries.fill(1, at, at + WIDTH);
        // The scores run from -400 to 400 in no order; the next best key is some 6 behind the best.
        const order = Array.from({ length }, (_, position) => ({ position, key: random.uniform() }))
          .sort((a, b) => a.key - b.key)
          .map(({ position }) => position);
        for (const [rank, position] of order.entries()) {
          const score = ((rank / (length - 1)) * 800 - 400) / Math.sqrt(SHAPE.headDim);
          inputs.keys.fill(score, position * CACHE_WIDTH, (position + 1) * CACHE_WIDTH);
        }
        const [attended] = await attend(await kernels(options()), inputs, { count: 1, end: length });
        expectAttended(attended, inputs, `scores far apart, ${JSON.stringify(rule)}`);
      }
    }),
  );

  test(
    "a soft cap takes scores of any size",
    seeded(async (random) => {
      const inputs = chainInputs(random, 90, 1, { softCap: 2 });
      inputs.keys.forEach((x, i) => {
        inputs.keys[i] = x * 1e30;
      });
      const [attended] = await attend(await kernels(options()), inputs, { count: 1, end: 90 });
      // The bound for rounded scores says nothing at this size; but nearly every score is at the cap, on one side or the other.
      const range = [inputs.range.first * WIDTH, (inputs.range.first + 1) * WIDTH] as const;
      expect(floats(attended.slice(...range)).every((x) => Math.abs(x) < 2)).toBe(true);
    }),
  );

  test("equal scores give the mean of the values", async () => {
    const length = 200;
    const range = { first: 0, count: 1, linear: length };
    const inputs = {
      shape: SHAPE,
      rule: {},
      kvType: "f32" as const,
      queries: new Float32Array(TABLE_ROWS * WIDTH),
      keys: new Float32Array(length * CACHE_WIDTH).fill(1),
      values: Float32Array.from({ length: length * CACHE_WIDTH }, (_, i) => Math.floor(i / CACHE_WIDTH)),
      rows: chain(TABLE_ROWS, 0, 1, length - 1),
      range,
      pages: pagesInOrder(length),
      lane: 0,
    };
    const [attended] = await attend(await kernels(options()), inputs, { count: 1, end: length });
    for (const x of floats(attended).subarray(0, WIDTH)) expect(x).toBeCloseTo(99.5, 3);
  });

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const inputs = chainInputs(random, 100, 4);
      const empty = { ...inputs, range: { ...inputs.range, count: 0 } };
      const [attended, partialSoftmax] = await attend(await kernels(options()), empty, { count: 4, end: 104 });
      expect(attended.every((word) => word === POISON)).toBe(true);
      expect(partialSoftmax.every((word) => word === POISON)).toBe(true);
    }),
  );

  test("the grid fits the limits of WebGPU at 128 Ki positions of 128 heads", async () => {
    const attention = await kernels({ ...SHAPE, kvType: "f32", variant });
    const wide = new FewQueryAttention(bench.device, { heads: 128, kvHeads: 128, headDim: 16, kvType: "f32", variant });
    await wide.prepare();
    const grids: number[][] = [];
    class Spy extends Recorder {
      override dispatch(...[, , , grid]: Parameters<Recorder["dispatch"]>): void {
        grids.push([...grid].map(Number));
      }
    }
    const [range, buffer] = [bench.ranges({ first: 0, count: 0 }), bench.output("any", 64)];
    const shape = bench.uniform("shape", attentionShape(SHAPE, 64));
    const names = ["rows", "queries", "keys", "values", "pages", "partialSums", "partialSoftmax", "attended"] as const;
    const buffers = Object.fromEntries(names.map((name) => [name, buffer])) as Record<
      (typeof names)[number],
      GPUBuffer
    >;
    for (const kernel of [attention, wide]) {
      kernel.dispatch(new Spy(bench.device.handle, "grids"), kernel.bind({ range, shape, ...buffers }), {
        range: 0,
        count: TABLE_ROWS,
        end: 131_072,
      });
    }
    expect(grids).toHaveLength(4);
    for (const size of grids.flat()) expect(size).toBeLessThanOrEqual(65_535);
  });

  describe("bits", () => {
    /** A row alone, in another row of the table, with nothing but NaN behind what it sees. */
    async function alone(random: Random, inputs: AttentionInputs, row: number): Promise<Words> {
      const { rows, rule } = inputs;
      const { position } = rows[row]!;
      const number = random.int(0, TABLE_ROWS - 1);
      const queries = inputs.queries.slice().fill(NaN);
      queries.set(inputs.queries.subarray(row * WIDTH, (row + 1) * WIDTH), number * WIDTH);
      // Laid out as in an empty cache: each position in the slot of its number.
      const slots = visibleSlots(inputs, row, rule);
      const [keys, values] = [inputs.keys, inputs.values].map((cache) => {
        const linear = new Float32Array((position + 1 + random.int(0, 70)) * CACHE_WIDTH).fill(NaN);
        for (const [i, slot] of slots.entries()) {
          const data = cache.subarray(slot * CACHE_WIDTH, (slot + 1) * CACHE_WIDTH);
          linear.set(data, (position + 1 - slots.length + i) * CACHE_WIDTH);
        }
        return linear;
      });
      const single = {
        ...inputs,
        queries,
        keys: keys!,
        values: values!,
        rows: chain(TABLE_ROWS, number, 1, position),
        pages: pagesInOrder(position + 1),
        range: { first: number, count: 1, linear: position + random.int(0, 1) },
      };
      const bound = { count: random.int(1, 8), end: position + 1 + random.int(0, 500) };
      const [attended] = await attend(await kernels(options(inputs.kvType)), single, {
        ...bound,
        contextLength: bound.end + random.int(0, 500),
      });
      return attended.slice(number * WIDTH, (number + 1) * WIDTH);
    }

    async function expectAlone(random: Random, inputs: AttentionInputs, what: string): Promise<void> {
      const { first, count } = inputs.range;
      const end = Math.max(...inputs.rows.slice(first, first + count).map(({ position }) => position)) + 1;
      const [together] = await attend(await kernels(options(inputs.kvType)), inputs, { count, end });
      for (const row of new Set([first, first + count - 1, random.int(first, first + count - 1)])) {
        expectSameBits(
          together.slice(row * WIDTH, (row + 1) * WIDTH),
          await alone(random, inputs, row),
          `${what}: row ${row - first} of ${count}, position ${inputs.rows[row]!.position}`,
        );
      }
    }

    const COUNTS = [...Array.from({ length: 16 }, (_, i) => i + 1), 17, 23, TABLE_ROWS];

    test.each([
      ["without a rule", {}],
      ["with a window within a chunk", { window: 37 }],
      ["with a window over chunks", { window: 150 }],
      ["with a soft cap", { softCap: 5 }],
    ] as const)("%s: a row of 1 to 32, committed, in flight or in a tree, is the row alone", (_, rule) =>
      seeded(async (random) => {
        for (const [i, count] of COUNTS.entries()) {
          const pass = PASSES[1 + (i % 3)]!;
          const start = random.pick([0, 1, 49, 62, 63, 64, 65, 127, random.int(1, 300), random.int(300, 1500)]);
          const first = random.int(0, TABLE_ROWS - count);
          const rows =
            pass === "tree" ? tree(random, TABLE_ROWS, first, count, start) : chain(TABLE_ROWS, first, count, start);
          const linear = pass === "committed chain" ? start + count : start;
          const kvType = random.pick(KV_TYPES);
          const inputs = randomInputs(random, { shape: SHAPE, rule, kvType }, rows, { first, count, linear });
          await expectAlone(random, inputs, `${kvType}, ${pass} behind ${start}, ${JSON.stringify(rule)}`);
        }
      })(),
    );

    test(
      "rows of several texts in one pass, in flight and in windows, are the rows alone",
      seeded(async (random) => {
        for (const rule of [{}, { window: 70 }]) {
          // Each text has rows, pages and slots of its own; their caches lie one behind the other.
          const texts: AttentionInputs[] = [];
          for (let first = 0; first < TABLE_ROWS - 8 && texts.length < 4; ) {
            const count = random.int(1, 8);
            const start = random.int(1, 300);
            const pass = random.pick(["committed", "in flight", "tree"] as const);
            const make = pass === "tree" ? tree.bind(undefined, random) : chain;
            const range = { first, count, linear: pass === "committed" ? start + count : start };
            const given = { shape: SHAPE, rule, kvType: "f32" as const };
            texts.push(randomInputs(random, given, make(TABLE_ROWS, first, count, start), range));
            first += count;
          }
          const lanePages = Math.max(...texts.map(({ pages }) => pages.length));
          const table = new Uint32Array(texts.length * lanePages).fill(NONE);
          const queries = new Float32Array(TABLE_ROWS * WIDTH).fill(NaN);
          const given: TableRow[] = texts[0]!.rows.map((row) => ({ ...row }));
          const caches: { keys: number[]; values: number[] } = { keys: [], values: [] };
          let begin = 0;
          for (const [lane, text] of texts.entries()) {
            const cachePages = Math.ceil(text.keys.length / CACHE_WIDTH / PAGE_SLOTS);
            table.set(
              text.pages.map((page) => begin + page),
              lane * lanePages,
            );
            for (let row = text.range.first; row < text.range.first + text.range.count; row++) {
              queries.set(text.queries.subarray(row * WIDTH, (row + 1) * WIDTH), row * WIDTH);
              const own = text.rows[row]!;
              given[row] = { ...own, slot: own.slot + begin * PAGE_SLOTS, lane, linear: text.range.linear };
            }
            for (const name of ["keys", "values"] as const) {
              const padded = new Float32Array(cachePages * PAGE_SLOTS * CACHE_WIDTH).fill(NaN);
              padded.set(text[name]);
              caches[name].push(...padded);
            }
            begin += cachePages;
          }
          const [first] = texts;
          const count = texts.reduce((sum, { range }) => sum + range.count, 0);
          const joint = {
            ...first!,
            queries,
            ...{ keys: Float32Array.from(caches.keys), values: Float32Array.from(caches.values) },
            range: { first: 0, count, linear: 0 },
            given: { rows: given, table, lanePages },
          };
          const end = Math.max(...given.slice(0, count).map(({ position }) => position!)) + 1;
          const [together] = await attend(await kernels(options()), joint, { count, end });
          for (const text of texts) {
            for (let row = text.range.first; row < text.range.first + text.range.count; row++) {
              expectSameBits(
                together.slice(row * WIDTH, (row + 1) * WIDTH),
                await alone(random, text, row),
                `row ${row} of ${texts.length} texts, ${JSON.stringify(rule)}`,
              );
            }
          }
        }
      }),
    );

    test(
      "rows of unlike lengths in one pass are the rows alone",
      seeded(async (random) => {
        // What no round does today: it must still not matter which rows share a block.
        const count = 9;
        const positions = random.ints(count, 0, 400);
        const rows: Rows = chain(TABLE_ROWS, 0, count, 0).map((row, i) =>
          i < count ? { ...row, position: positions[i]!, slot: positions[i]! } : row,
        );
        const range = { first: 0, count, linear: 401 };
        for (const rule of [{}, { window: 100 }]) {
          const inputs = randomInputs(random, { shape: SHAPE, rule, kvType: "f32" }, rows, range);
          await expectAlone(random, inputs, `positions ${positions}`);
        }
      }),
    );
  });
});

describe("what the kernels do not take", () => {
  test.each([
    ["heads of 12", { heads: 1, kvHeads: 1, headDim: 12 }],
    ["heads of 264", { heads: 1, kvHeads: 1, headDim: 264 }],
    ["no key-value heads", { heads: 1, kvHeads: 0, headDim: 8 }],
    ["groups of unlike size", { heads: 5, kvHeads: 2, headDim: 8 }],
    ["fewer query heads than key-value heads", { heads: 0, kvHeads: 2, headDim: 8 }],
  ] as const)("%s", (_, shape) => {
    expect(() => new FewQueryAttention(bench.device, { ...shape, kvType: "f32", variant: "threads" })).toThrow(
      RangeError,
    );
    expect(() => attentionShape(shape, 64)).toThrow(RangeError);
  });

  test.each([{ window: 0 }, { window: 1.5 }, { softCap: 0 }, { softCap: NaN }, { scale: Infinity }])("%j", (rule) => {
    expect(() => attentionShape(SHAPE, 64, rule)).toThrow(RangeError);
  });
});
