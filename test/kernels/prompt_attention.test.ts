import { beforeAll, describe, expect, test } from "vitest";
import { attentionShape, type HeadShape, type ScoreRule } from "../../src/kernels/attention_shape.ts";
import { PromptAttention, type PromptOptions } from "../../src/kernels/prompt_attention.ts";
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
  RULES,
  type Rule,
  randomInputs,
  scoreRule,
  tableRows,
  withoutGaps,
} from "./attention_inputs.ts";
import { expectSameBits, floats, openBench, POISON, rowSet, type Words } from "./harness.ts";
import { slotIn } from "./page_tables.ts";

const bench = openBench();

const VARIANTS = ["threads", "tiles"] as const;
const COUNTS = [1, 2, 7, 33] as const;

const compiled = new Map<string, Promise<PromptAttention>>();

function kernel(options: PromptOptions): Promise<PromptAttention> {
  const key = JSON.stringify(options);
  let made = compiled.get(key);
  if (!made) {
    const attention = new PromptAttention(bench.device, options);
    made = attention.prepare().then(() => attention);
    compiled.set(key, made);
  }
  return made;
}

/** Rows `count` of a prompt from position `start` on, somewhere in a table. */
function promptInputs(
  random: Random,
  given: Pick<AttentionInputs, "shape" | "rule" | "kvType">,
  start: number,
  count: number,
): AttentionInputs {
  const first = random.int(0, 5);
  const rows = chain(first + count + random.int(0, 5), first, count, start);
  return randomInputs(random, given, rows, { first, count, linear: start + count });
}

/** A cache with nothing but NaN from position `end` on. */
function endingAt(end: number, cache: Float32Array<ArrayBuffer>, { range, pages, shape }: AttentionInputs) {
  const width = shape.kvHeads * shape.headDim;
  const cut = cache.slice();
  for (let position = end; position < range.linear; position++) {
    const slot = slotIn(pages, position);
    cut.fill(NaN, slot * width, (slot + 1) * width);
  }
  return cut;
}

/** @param count the host's bound of the number of rows */
async function attend(attention: PromptAttention, inputs: AttentionInputs, count: number): Promise<Words> {
  const { shape, rule, kvType, queries, keys, values, rows, range, pages } = inputs;
  const { heads, headDim } = shape;
  // Other than the width: the next kernel may want the rows padded.
  const stride = heads * headDim + 32;
  const attended = bench.output("attended", rows.length * stride);
  const group = attention.bind({
    range: bench.ranges({ first: 0, count: 0 }, range),
    shape: bench.uniform("shape", attentionShape(shape, 0, rule, stride, pages.length)),
    rows: bench.rows(tableRows(inputs)),
    queries: bench.upload("queries", queries),
    keys: bench.upload("keys", cached(keys, kvType, headDim)),
    values: bench.upload("values", cached(values, kvType, headDim)),
    pages: bench.upload("pages", pageTable(inputs)),
    attended,
  });
  const set = rowSet(1, count, range.linear);
  const [result] = await bench.run((recorder) => attention.dispatch(recorder, group, set), attended);
  bench.release();
  return withoutGaps(result, heads * headDim, stride);
}

async function expectFormula(random: Random, options: PromptOptions, rule: Rule, start: number, count: number) {
  const { kvType, variant, ...shape } = options;
  const inputs = promptInputs(random, { shape, rule: scoreRule(random, rule), kvType }, start, count);
  const attended = await attend(await kernel(options), inputs, count + random.int(0, 5));
  const what = `${variant}, ${kvType}, ${count} rows from ${start} on, ${JSON.stringify(inputs.rule)}`;
  expectAttended(attended, inputs, what, Infinity);
}

describe("attention of a prompt's rows equals the formula, whatever stands where no row may look", () => {
  const full = everyKernel(VARIANTS);
  const pairs = pairsOfKernels(VARIANTS, { context: CONTEXTS, count: COUNTS });
  const optionsOf = ({ headDim, heads, kvType, variant }: (typeof full)[number]): PromptOptions => ({
    ...headShape(heads, headDim),
    kvType,
    variant,
  });

  // Side by side: compiling is most of the time that this file takes.
  beforeAll(async () => {
    await Promise.all(pairs.map((case_) => kernel(optionsOf(case_))));
  }, 600_000);

  test.each(full)("$variant, $heads heads of $headDim in $kvType, every rule", (case_) =>
    seeded(async (random) => {
      for (const [i, rule] of RULES.entries()) {
        for (const [j, count] of COUNTS.entries()) {
          const context = CONTEXTS[(i * COUNTS.length + j + random.int(0, 1)) % CONTEXTS.length]!;
          await expectFormula(random, optionsOf(case_), rule, context - 1, count);
        }
      }
    })(),
  );

  test.each(pairs)("$variant, $heads heads of $headDim in $kvType, $rule, $count rows, context $context", (case_) =>
    seeded((random) => expectFormula(random, optionsOf(case_), case_.rule, case_.context - 1, case_.count))(),
  );
});

/** For the tests of properties: groups of a size that no block is a multiple of, so that rows share blocks unevenly. */
const SHAPE: HeadShape = { heads: 10, kvHeads: 2, headDim: 16 };
const WIDTH = SHAPE.heads * SHAPE.headDim;
const CACHE_WIDTH = SHAPE.kvHeads * SHAPE.headDim;

describe.each(VARIANTS)("attention of a prompt's rows, %s", (variant) => {
  const options = (kvType: PromptOptions["kvType"] = "f32"): PromptOptions => ({ ...SHAPE, kvType, variant });
  const plain = { shape: SHAPE, rule: {}, kvType: "f32" } as const;

  test(
    "a long prompt from nothing",
    seeded(async (random) => {
      const inputs = promptInputs(random, plain, 0, 300);
      const attended = await attend(await kernel(options()), inputs, 300);
      expectAttended(attended, inputs, "300 rows", Infinity);
    }),
  );

  test(
    "scores far apart pick one key, and no exponential overflows",
    seeded(async (random) => {
      for (const rule of [{}, { softCap: 300 }]) {
        const length = 130;
        const inputs = promptInputs(random, { ...plain, rule }, length - 1, 1);
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
        const attended = await attend(await kernel(options()), inputs, 1);
        expectAttended(attended, inputs, `scores far apart, ${JSON.stringify(rule)}`, Infinity);
      }
    }),
  );

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const inputs = promptInputs(random, plain, 20, 9);
      const empty = { ...inputs, range: { ...inputs.range, count: 0 } };
      const attended = await attend(await kernel(options()), empty, 9);
      expect(attended.every((word) => word === POISON)).toBe(true);
    }),
  );

  test(
    "NaN in a row's key and value stays with the rows that see it",
    seeded(async (random) => {
      // Behind a window too: rows beyond it are as if it were not there.
      for (const window of [undefined, 4, 30]) {
        const count = 40;
        const inputs = promptInputs(random, { ...plain, rule: { window } }, 60, count);
        const spoilt = { ...inputs, keys: inputs.keys.slice(), values: inputs.values.slice() };
        const nan = 5;
        const slot = slotIn(inputs.pages, 60 + nan);
        spoilt.keys.fill(NaN, slot * CACHE_WIDTH, (slot + 1) * CACHE_WIDTH);
        spoilt.values.fill(NaN, slot * CACHE_WIDTH, (slot + 1) * CACHE_WIDTH);
        const expected = await attend(await kernel(options()), inputs, count);
        const actual = await attend(await kernel(options()), spoilt, count);
        for (let row = 0; row < count; row++) {
          const at = (inputs.range.first + row) * WIDTH;
          const got = actual.slice(at, at + WIDTH);
          const what = `row ${row}, window ${window}`;
          if (row >= nan && row < nan + (window ?? Infinity)) expect(floats(got).every(Number.isNaN), what).toBe(true);
          else expectSameBits(got, expected.slice(at, at + WIDTH), what);
        }
      }
    }),
  );

  test.each([
    ["without a rule", {}],
    ["with a window within a tile", { window: 5 }],
    ["with a window over tiles", { window: 50 }],
    ["with a soft cap", { softCap: 5 }],
  ] as const)("%s: a row's bits are the same from any chunking", (_, rule: ScoreRule) =>
    seeded(async (random) => {
      const kvType = random.pick(KV_TYPES);
      const attention = await kernel(options(kvType));
      const start = random.pick([0, 1, 31, 32, random.int(1, 500)]);
      const count = 140;
      const inputs = promptInputs(random, { shape: SHAPE, rule, kvType }, start, count);
      const whole = await attend(attention, inputs, count);
      for (const size of [1, 7, 32, 128]) {
        // One row at a time takes long, so only some.
        const from = size === 1 ? count - 24 : 0;
        for (let done = from; done < count; done += size) {
          const rows = Math.min(size, count - done);
          // The chunk in other rows of the table, and nothing but NaN behind it in the cache.
          const first = random.int(0, 9);
          const at = (inputs.range.first + done) * WIDTH;
          const queries = new Float32Array((first + rows) * WIDTH).fill(NaN);
          queries.set(inputs.queries.subarray(at, at + rows * WIDTH), first * WIDTH);
          const end = start + done + rows;
          const chunk = {
            ...inputs,
            queries,
            keys: endingAt(end, inputs.keys, inputs),
            values: endingAt(end, inputs.values, inputs),
            rows: chain(first + rows, first, rows, start + done),
            range: { first, count: rows, linear: end },
          };
          const attended = await attend(attention, chunk, rows + random.int(0, 3));
          expectSameBits(
            attended.slice(first * WIDTH),
            whole.slice(at, at + rows * WIDTH),
            `${kvType}, prompt from ${start} on, rows ${done} to ${done + rows - 1} in chunks of ${size}`,
          );
        }
      }
    })(),
  );
});

test("shapes that the kernels do not take", () => {
  for (const headDim of [12, 264]) {
    expect(
      () => new PromptAttention(bench.device, { heads: 1, kvHeads: 1, headDim, kvType: "f32", variant: "tiles" }),
    ).toThrow(RangeError);
  }
});
