/**
 * What families ask of a product beside its form: normed or not, biases, another activation, factors, a soft cap, several
 * matrices of different formats; of few rows and of many.
 */

import { beforeAll, describe, test } from "vitest";
import type { Recorder } from "../../src/gpu/commands.ts";
import type { BoundMatmul } from "../../src/kernels/few_row_matmul.ts";
import { exactInInt8 } from "../../src/kernels/int8_rows.ts";
import type { RowSet } from "../../src/kernels/kernel.ts";
import { type ManyRowForm, ManyRowMatmul, type Tile } from "../../src/kernels/many_row_matmul.ts";
import { kindName, type MatmulBinding, type MatmulKind, type MatmulSize } from "../../src/kernels/matmul_form.ts";
import { type ProbeData, type ProbeSize, runProbe } from "../../src/kernels/matmul_probe.ts";
import type { WeightFormat } from "../../src/kernels/weight_format.ts";
import { pairwise } from "../pairwise.ts";
import { type Random, seeded } from "../reference/random.ts";
import { fullMatrix, SLOW } from "../slow.ts";
import {
  expectSameBits,
  expectWithin,
  floats,
  openBench,
  poisoned,
  rowSet,
  TABLE_ROWS,
  type Words,
} from "./harness.ts";
import {
  columnsOf,
  expectProducts,
  FORMS,
  formatOf,
  headShapeOf,
  ofBucket,
  type Pass,
  productOf,
  randomPass,
  randomProduct,
  rowWords,
  runsHere,
  STORED,
  VARIANTS,
} from "./matmul_inputs.ts";

const bench = openBench();

/** A kernel of either regime. */
interface Matmul<F extends ManyRowForm = ManyRowForm> {
  shape(size: MatmulSize): Words;
  bind(buffers: Readonly<Record<MatmulBinding<F>, GPUBuffer>>, outputs: number): BoundMatmul;
  record(recorder: Recorder, bound: BoundMatmul, rows: RowSet): void;
}

/** Quick to compile on a software adapter, and of which a few rows and outputs make many. */
const SMALL_TILE: Tile = { rows: 16, columns: 16, threadRows: 2, threadColumns: 4, chunkVectors: 2 };

async function manyRows<F extends ManyRowForm>(kind: MatmulKind<F>, variant: "tiles" | "thread" | "int8") {
  const matmul = new ManyRowMatmul(bench.device, kind, variant, SMALL_TILE);
  await matmul.prepare();
  return matmul;
}

/** Multiplies the rows of each pass, each into outputs of its own. */
function multiply(matmul: Matmul, data: ProbeData, passes: readonly Pass[]): Promise<Record<string, Words>[]> {
  return runProbe(
    bench.device,
    data,
    matmul.shape(data.size),
    passes.map(({ first, count, bound = count }) => ({
      ranges: [{ first, count }],
      record: (recorder, buffers, range) =>
        matmul.record(recorder, matmul.bind(buffers, data.size.outputs), rowSet(range, bound)),
    })),
  );
}

type OptionForm = Exclude<keyof typeof FORMS, "headArgmax">;

/** What a kernel's code depends on, in all combinations that some family may have. */
const OPTIONS = fullMatrix({
  form: ["store", "add", "gated", "qkv f32", "qkv f16"],
  normed: [true, false],
  bias: [true, false],
  activation: ["silu", "gelu_tanh"],
} as const).filter(
  ({ form, normed, activation }) => !(form === "add" && normed) && (form === "gated" || activation === "silu"),
);

interface KindOptions {
  form: OptionForm;
  normed: boolean;
  bias: boolean;
  activation: "silu" | "gelu_tanh";
}

function kindOf({ form, normed, bias, activation }: KindOptions, format: WeightFormat): MatmulKind<ManyRowForm> {
  const isGated = form === "gated";
  return { ...FORMS[form], format, normed, bias, ...(isGated && { activation }) };
}

const CODES = ["f32", "f16", "q8 symmetric", "q4 minimum"] as const;

/** No multiples of anything; heads of 8 to 256. */
const SIZES = [
  { inputSize: 72, outputs: 3, headShape: headShapeOf("9/3", 8) },
  { inputSize: 172, outputs: 70, headShape: headShapeOf("3/1", 24) },
  { inputSize: 200, outputs: 257, headShape: headShapeOf("7/7", 16) },
  { inputSize: 576, outputs: 1, headShape: headShapeOf("1/1", 80) },
  { inputSize: 76, outputs: 131, headShape: headShapeOf("3/1", 256) },
] as const;

/** The sizes of case `number`: two of them, all in a slow run. */
function sizesOf(number: number): readonly Omit<ProbeSize, "rows">[] {
  return SLOW ? SIZES : [SIZES[number % SIZES.length]!, SIZES[(number + 2) % SIZES.length]!];
}

/**
 * A product whose rows lie further apart, in the input amid NaN, in the result amid poison, with a factor and a soft cap where
 * its form has them.
 */
function withNumbers(random: Random, data: ProbeData): ProbeData {
  const { kind, rows, before } = data;
  const inputStride = data.inputStride + 4 * random.int(0, 9);
  const input = new Float32Array(rows * inputStride).fill(NaN);
  for (let row = 0; row < rows; row++) {
    const begin = row * data.inputStride;
    input.set(data.input.subarray(begin, begin + data.inputStride), row * inputStride);
  }
  const size = { ...data.size, inputStride };
  const all = { ...data, size, input, inputStride };
  switch (kind.form) {
    case "add":
      return { ...all, size: { ...size, factor: random.pick([1, -0.37, 12]) } };
    case "qkv":
      return { ...all, before: Object.fromEntries(Object.entries(before).map(([n, w]) => [n, poisoned(w.length)])) };
    default: {
      const resultOffset = random.int(0, 40);
      const resultStride = resultOffset + size.outputs + random.int(0, 40);
      // What is capped is of about the cap's size.
      const softCap = random.pick([undefined, 0.8, 30]);
      const factor = kind.form === "store" ? (softCap ? -(2 ** -11) * softCap : random.pick([1, -0.37, 12])) : 1;
      const capped = kind.form === "store" ? { factor, softCap } : {};
      return {
        ...all,
        size: { ...size, ...capped, resultOffset, resultStride },
        before: { output: poisoned(rows * resultStride) },
      };
    }
  }
}

describe("few rows equal the formula, and nothing else is written", () => {
  const all = fullMatrix({
    options: OPTIONS,
    codes: CODES,
    variant: ["thread", "subgroup:4", "workgroup:8"],
    bucket: [1, 4, 16],
  } as const).map(({ options, ...others }) => ({ ...options, ...others }));
  const cases = (SLOW ? all : pairwise(all)).map((case_, number) => {
    const format = formatOf(case_.codes, STORED[number % STORED.length]);
    const kind = kindOf(case_, format);
    return { ...case_, number, kind, name: kindName(kind) };
  });

  beforeAll(() => {
    if (SLOW) return;
    // Compiled while the tests before them run, on all cores. One that fails fails its test.
    for (const { kind, variant, bucket } of cases) {
      if (runsHere(bench.device, variant)) ofBucket(bench, kind, VARIANTS[variant], bucket).catch(() => {});
    }
  });

  test.for(cases)("$name, $variant, $bucket rows at a time", ({ kind, variant, bucket, number }, { skip }) => {
    skip(!runsHere(bench.device, variant), "no subgroups here");
    return seeded(async (random) => {
      const matmul = await ofBucket(bench, kind, VARIANTS[variant], bucket);
      for (const size of sizesOf(number)) {
        const data = withNumbers(random, randomProduct(random, kind, size));
        const pass = randomPass(random, 1, Math.min(TABLE_ROWS, 2 * bucket + 1));
        const [outputs] = await multiply(matmul, data, [pass]);
        expectProducts(data, pass, outputs!, () => 0, JSON.stringify(data.size));
      }
    })();
  });
});

describe("many rows equal the formula, and nothing else is written", () => {
  const all = fullMatrix({ options: OPTIONS, codes: CODES, variant: ["tiles", "thread"] } as const).map(
    ({ options, ...others }) => ({ ...options, ...others }),
  );
  const integers = [
    { form: "store", normed: true, bias: true, activation: "silu", codes: "q8 symmetric", variant: "int8" },
    { form: "gated", normed: false, bias: true, activation: "gelu_tanh", codes: "q4 symmetric", variant: "int8" },
  ] as const;
  const cases = [...(SLOW ? all : pairwise(all)), ...integers].map((case_, number) => {
    const format = formatOf(case_.codes, STORED[number % STORED.length]);
    const kind = kindOf(case_, format);
    return { ...case_, number, kind, name: kindName(kind) };
  });

  beforeAll(() => {
    if (SLOW) return;
    for (const { kind, variant } of cases) manyRows(kind, variant).catch(() => {});
  });

  test.each(cases)("$name, $variant", ({ kind, variant, number }) =>
    seeded(async (random) => {
      const matmul = await manyRows(kind, variant);
      for (const size of sizesOf(number)) {
        const data = withNumbers(random, randomProduct(random, kind, { ...size, rows: 21 }));
        const pass = { first: random.int(0, 3), count: 18, bound: 20 };
        const exact = variant === "int8" ? exactInInt8(data) : data;
        // Cut in two: the same bits.
        const cut = random.int(1, 17);
        const parts = [
          { first: pass.first, count: cut },
          { first: pass.first + cut, count: pass.count - cut },
        ];
        const [outputs, ...pieces] = await multiply(matmul, exact, [pass, ...parts]);
        expectProducts(exact, pass, outputs!, () => 0, JSON.stringify(data.size));
        for (const [i, part] of parts.entries()) expectSameRows(exact, part, pieces[i]!, outputs!);
      }
    })(),
  );
});

/** Fails unless a range's rows are the same, bit for bit. */
function expectSameRows(
  data: ProbeData,
  { first, count }: Pass,
  actual: Record<string, Words>,
  expected: Record<string, Words>,
): void {
  for (let row = first; row < first + count; row++) {
    for (const [name, { begin, end }] of rowWords(data, row)) {
      expectSameBits(actual[name]!.slice(begin, end), expected[name]!.slice(begin, end), `${name} of row ${row}`);
    }
  }
}

describe("queries, keys and values of several matrices in formats of their own", () => {
  const PARTS = [formatOf("q8 symmetric"), formatOf("f32"), formatOf("q4 minimum", "16 f32")] as const;

  /** Fails unless the kernels of the formats, each given some heads' columns, make what the whole matrix would. */
  async function expectParts(
    random: Random,
    kv: "f32" | "f16",
    matmulOf: (kind: MatmulKind<"qkv">) => Promise<Matmul<"qkv">>,
  ): Promise<void> {
    const headShape = headShapeOf(random.pick(["3/1", "9/3"]), random.pick([8, 24]));
    const { heads, kvHeads, headDim } = headShape;
    const kinds = PARTS.map((format) => ({ form: "qkv", kv, format, bias: true }) as const);
    const products = kinds.map((kind) => randomProduct(random, kind, { inputSize: 172, headShape }));
    const matmuls = await Promise.all(kinds.map(matmulOf));
    // Cut between any two heads: a part may hold queries and keys, say.
    const all = heads + 2 * kvHeads;
    const second = random.int(2, all - 1);
    const cuts = [0, random.int(1, second - 1), second, all].map((head) => head * headDim);
    const runs = PARTS.map((_, i) => ({ first: cuts[i]!, count: cuts[i + 1]! - cuts[i]! }));
    const joined = (numbersOf: (data: ProbeData) => ArrayLike<number>, width: number) =>
      runs.flatMap(({ first, count }, i) =>
        Array.from(numbersOf(products[i]!)).slice(first * width, (first + count) * width),
      );
    const [first] = products;
    const whole: ProbeData = {
      ...first!,
      kind: kinds.at(-1)!, // whose bound is the widest
      values: Float64Array.from(joined(({ values }) => values, 172)),
      biases: Float32Array.from(joined(({ biases }) => biases, 1)),
      before: Object.fromEntries(Object.entries(first!.before).map(([name, { length }]) => [name, poisoned(length)])),
    };
    const pass = randomPass(random, 2, 9);
    const [outputs] = await runProbe(bench.device, whole, matmuls[0]!.shape(whole.size), [
      {
        ranges: [{ ...pass }],
        record: (recorder, buffers, range) => {
          for (const [i, run] of runs.entries()) {
            const { weight, scales } = columnsOf(products[i]!, [run]);
            const size = { ...whole.size, outputs: run.count / 2, resultOffset: run.first / 2 };
            const own = {
              shape: bench.uniform("shape", matmuls[i]!.shape(size)),
              weight: bench.upload("weight", weight),
              scales: bench.upload("scales", scales),
            };
            const bound = matmuls[i]!.bind({ ...buffers, ...own }, size.outputs);
            matmuls[i]!.record(recorder, bound, rowSet(range, pass.bound));
          }
        },
      },
    ]);
    expectProducts(whole, pass, outputs!, () => 0, `${JSON.stringify(headShape)}, cut at ${cuts}`);
  }

  test.for(["thread", "workgroup:8"] as const)("few rows, %s", (variant) =>
    seeded((random) => expectParts(random, "f32", (kind) => ofBucket(bench, kind, VARIANTS[variant], 2)))(),
  );

  test("many rows, KV f16", () => seeded((random) => expectParts(random, "f16", (kind) => manyRows(kind, "tiles")))());
});

/** One number a column, for rows of one input that is not zero. */
const column = (x: number) => [x, 0, 0, 0];

/** The kernels of numbers near zero and far from it, one of each regime. */
const REGIMES: Record<string, <F extends ManyRowForm>(kind: MatmulKind<F>) => Promise<Matmul<F>>> = {
  "few rows": (kind) => ofBucket(bench, kind, VARIANTS.thread, 1),
  "many rows": (kind) => manyRows(kind, "tiles"),
};

const NUMBERS = [
  ...[0, 1e-30, 1e-10, 1e-4, 0.03, 0.5, 1, 1.7, 2.5, 3, 4, 5, 6, 8, 10, 20],
  ...[30, 44, 45, 60, 87, 89, 100, 1000, 1e4, 1e6],
].flatMap((x) => [x, -x]);

describe.each(Object.keys(REGIMES))("near zero and far from it, %s", (regime) => {
  const FORMULAS = {
    silu: (x: number) => x / (1 + Math.exp(-x)),
    gelu_tanh: (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  };

  test.each(["silu", "gelu_tanh"] as const)("%s is the formula's to 2^-20 of its argument, never NaN", async (name) => {
    const matrix = [...NUMBERS.map(column), ...NUMBERS.map(() => column(3))];
    const data = productOf("gated", matrix, [column(1)], { normed: false, activation: name });
    const matmul = await REGIMES[regime]!(data.kind);
    const [outputs] = await multiply(matmul, data, [{ first: 0, count: 1 }]);
    expectWithin(
      floats(outputs!.output!),
      NUMBERS.map((x) => 3 * FORMULAS[name](x)),
      (n) => 3 * 2 ** -20 * Math.abs(NUMBERS[n]!),
      name,
    );
  });

  test.each([0.5, 30, 50])("a soft cap of %d is the formula's to 2^-21 of the cap, never NaN", async (softCap) => {
    const numbers = [...NUMBERS, 1e12, -1e12, 1e30, -1e30];
    const data = productOf("store", numbers.map(column), [column(1)]);
    const matmul = await REGIMES[regime]!(data.kind);
    for (const factor of [1, -0.25]) {
      const capped = { ...data, size: { ...data.size, factor, softCap } };
      const [outputs] = await multiply(matmul, capped, [{ first: 0, count: 1 }]);
      expectWithin(
        floats(outputs!.output!),
        numbers.map((x) => softCap * Math.tanh((factor * x) / softCap)),
        () => 2 ** -21 * softCap,
        `times ${factor}`,
      );
    }
  });
});
