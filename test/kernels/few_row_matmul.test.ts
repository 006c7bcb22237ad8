import { beforeAll, describe, expect, type TestContext, test, vi } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { NONE, ROW_CAPACITY } from "../../src/kernels/constants.ts";
import {
  type BoundMatmul,
  BUCKETS,
  type Bucket,
  bucketFor,
  FewRowMatmul,
  type FewRowVariant,
  fewRowGroupOf,
  fewRowGroups,
} from "../../src/kernels/few_row_matmul.ts";
import type { MatmulForm, MatmulKind } from "../../src/kernels/matmul_form.ts";
import { CHECK_SIZE, type ProbeData, runProbe } from "../../src/kernels/matmul_probe.ts";
import { outputNumbers, plainProducts } from "../../src/kernels/plain_matmul.ts";
import { ropeRotations } from "../../src/kernels/rope.ts";
import { errorBound } from "../../src/kernels/self_check.ts";
import { type PackedMatrix, packMatrix, unpackMatrix } from "../../src/kernels/weight_codec.ts";
import { formatName, isBlockFormat, paddedSize, scaleBytes, weightBytes } from "../../src/kernels/weight_format.ts";
import type { IdRun } from "../../src/weights/head_parts.ts";
import { pairwiseOf } from "../pairwise.ts";
import { rope } from "../reference/ops.ts";
import { type Random, seeded } from "../reference/random.ts";
import { fullMatrix, SLOW } from "../slow.ts";
import { expectSameBits, expectWithin, floats, openBench, poisoned, rowSet, type Words } from "./harness.ts";
import {
  CODES,
  expectProducts,
  FORM_NAMES,
  FORMATS,
  FORMS,
  formatOf,
  groupsOf,
  HEAD_DIMS,
  HEADS,
  headShapeOf,
  INPUT_SIZES,
  multiply,
  OUTPUT_SIZES,
  productOf,
  randomPass,
  randomProduct,
  rowWords,
  runsHere,
  STORED,
  VARIANTS,
  type VariantName,
} from "./matmul_inputs.ts";

const bench = openBench();

const VARIANT_NAMES = Object.keys(VARIANTS) as VariantName[];
/** One of each kind. */
const KINDS = ["thread", "subgroup:4", "workgroup:8"] as const satisfies VariantName[];

/** A test on random inputs, skipped where the device lacks what the variant needs. */
function ofVariant(name: VariantName, body: (random: Random) => Promise<void>) {
  return ({ skip }: TestContext): Promise<void> => {
    skip(!runsHere(bench.device, name), "no subgroups here");
    return seeded(body)();
  };
}

/** A matmul of which one bucket is compiled, which then takes any number of rows. */
async function ofBucket<F extends MatmulForm>(kind: MatmulKind<F>, variant: FewRowVariant, bucket: Bucket) {
  const matmul = new FewRowMatmul(bench.device, kind, variant);
  await matmul.kernel(bucket).prepare();
  return matmul;
}

/** A matrix from 72 inputs to 70 outputs, bound. */
function bound(matmul: FewRowMatmul<"store">): BoundMatmul {
  const size = { inputSize: 72, outputs: 70 };
  const { weight, scales } = packMatrix(matmul.kind.format, 72, 70, { elements: [] });
  const buffers = {
    range: bench.ranges({ first: 0, count: ROW_CAPACITY }),
    shape: bench.uniform("shape", matmul.shape(size)),
    weight: bench.upload("weight", weight),
    scales: bench.upload("scales", scales),
    input: bench.output("input", ROW_CAPACITY * paddedSize(72)),
    output: bench.output("output", ROW_CAPACITY * 70),
  };
  return matmul.bind(buffers, size.outputs);
}

/** What recording `count` rows comes to. */
function cost(matmul: FewRowMatmul<"store">, bound: BoundMatmul, count: number): Recorder {
  const recorder = new Recorder(bench.device.handle, "counted");
  matmul.record(recorder, bound, rowSet(0, count));
  recorder.finish();
  return recorder;
}

/** Products of every number of outputs, with inputs and heads of the sizes that come next. */
async function expectFormula(random: Random, kind: MatmulKind, variant: FewRowVariant, bucket: Bucket): Promise<void> {
  const matmul = await ofBucket(kind, variant, bucket);
  const turn = random.int(0, 1000);
  for (const [i, outputs] of OUTPUT_SIZES.entries()) {
    const next = <T>(choices: readonly T[]): T => choices[(turn + i) % choices.length]!;
    const headShape = headShapeOf(next(HEADS), next(HEAD_DIMS));
    const data = randomProduct(random, kind, { inputSize: next(INPUT_SIZES), outputs, headShape });
    const pass = randomPass(random, 1, Math.min(ROW_CAPACITY, 2 * bucket + 1));
    const [result] = await multiply(bench.device, matmul, data, [pass]);
    const what = JSON.stringify({ heads: kind.form === "qkv" ? headShape : undefined, bound: pass.bound });
    expectProducts(data, pass, result!, groupsOf(matmul, data.size.outputs), what);
  }
}

describe("the few-row matmul equals the formula, and other rows stay untouched", () => {
  const some = pairwiseOf({
    form: FORM_NAMES,
    codes: CODES,
    stored: STORED,
    variant: ["thread", "subgroup:4", "workgroup:4", "workgroup:8"],
    bucket: BUCKETS,
  });
  const cases = SLOW
    ? fullMatrix({ form: FORM_NAMES, format: FORMATS, variant: VARIANT_NAMES, bucket: BUCKETS })
    : some.map(({ codes, stored, ...others }) => ({ ...others, format: formatOf(codes, stored) }));

  beforeAll(() => {
    if (SLOW) return;
    // Compiled while the tests before them run, on all cores. One that fails fails its test.
    for (const { form, format, variant, bucket } of cases) {
      if (!runsHere(bench.device, variant)) continue;
      ofBucket({ ...FORMS[form], format }, VARIANTS[variant], bucket).catch(() => {});
    }
  });

  test.for(cases.map((case_) => ({ ...case_, name: formatName(case_.format) })))(
    "$form of $name, $variant, $bucket rows at a time",
    ({ form, format, variant, bucket }, context) =>
      ofVariant(variant, (random) => expectFormula(random, { ...FORMS[form], format }, VARIANTS[variant], bucket))(
        context,
      ),
  );

  test("the cases above have every format, and every variant of every form", () => {
    const count = (names: string[]) => new Set(names).size;
    expect(count(cases.map(({ format }) => formatName(format)))).toBe(FORMATS.length);
    expect(count(cases.map(({ form, variant }) => `${form} ${variant}`))).toBeGreaterThanOrEqual(4 * FORM_NAMES.length);
  });
});

describe.each(FORM_NAMES)("few-row matmul, %s", (form) => {
  const kind = { ...FORMS[form], format: { type: "f32" } } as const;

  test.for(KINDS)("%s: an empty range writes nothing, whatever the host's bound", (variant, context) =>
    ofVariant(variant, async (random) => {
      const matmul = await ofBucket(kind, VARIANTS[variant], 2);
      const data = randomProduct(random, kind, { inputSize: 72, outputs: 70, headShape: CHECK_SIZE.headShape });
      const passes = [1, 2, 5, 32].map((bound) => ({ first: random.int(0, ROW_CAPACITY - 1), count: 0, bound }));
      for (const outputs of await multiply(bench.device, matmul, data, passes)) {
        for (const [name, words] of Object.entries(outputs)) expectSameBits(words, data.before[name]!, name);
      }
    })(context),
  );

  test.for(KINDS)(
    "%s: rows outside the range may hold anything, and a row of NaN inside it stays alone",
    (variant, context) =>
      ofVariant(variant, async (random) => {
        const matmul = await ofBucket(kind, VARIANTS[variant], 2);
        const data = randomProduct(random, kind, { outputs: 70, headShape: CHECK_SIZE.headShape });
        const range = { first: random.int(1, 15), count: 7 };
        const { inputStride, input } = data;
        input.fill(NaN, 0, range.first * inputStride).fill(NaN, (range.first + range.count) * inputStride);
        const [clean] = await multiply(bench.device, matmul, data, [range]);
        expectProducts(data, range, clean!, groupsOf(matmul, data.size.outputs), "NaN around");
        const spoilt = range.first + random.int(0, range.count - 1);
        const spoiltInput = input.slice().fill(NaN, spoilt * inputStride, (spoilt + 1) * inputStride);
        const [mixed] = await multiply(bench.device, matmul, { ...data, input: spoiltInput }, [range]);
        for (let row = range.first; row < range.first + range.count; row++) {
          if (row === spoilt) continue;
          for (const [name, { begin, end }] of rowWords(data, row)) {
            expectSameBits(mixed![name]!.slice(begin, end), clean![name]!.slice(begin, end), `${name} of row ${row}`);
          }
        }
      })(context),
  );
});

describe("few-row matmul", () => {
  test("rows take the smallest bucket that holds them, more than the largest run as slabs of it", () => {
    expect([1, 2, 3, 4, 5, 8, 9, 16, 17, 32].map((count) => bucketFor(count, BUCKETS))).toEqual([
      1, 2, 4, 4, 8, 8, 16, 16, 16, 16,
    ]);
    expect([1, 2, 3, 9, 16].map((count) => bucketFor(count, [1, 4, 8]))).toEqual([1, 4, 4, 8, 8]);
    expect(bucketFor(7, [1])).toBe(1);
  });

  test.each(VARIANT_NAMES)("%s: every output belongs to one of the workgroups, every workgroup has one", (name) => {
    const variant = VARIANTS[name];
    for (const form of ["store", "gated", "qkv"] as const) {
      for (const outputs of [1, 2, 3, 4, 5, 63, 64, 65, 255, 256, 257, 1000, 4099]) {
        const groups = new Set(Array.from({ length: outputs }, (_, n) => fewRowGroupOf(form, n, outputs, variant)));
        const expected = Array.from({ length: fewRowGroups(form, outputs, variant) }, (_, group) => group);
        expect([...groups].sort((a, b) => a - b)).toEqual(expected);
      }
    }
  });

  test.each(VARIANT_NAMES)("%s: the grid of a head of 262,144 ids fits the limits of WebGPU", (name) => {
    expect(fewRowGroups("headArgmax", 262_144, VARIANTS[name])).toBeLessThanOrEqual(65_535);
  });

  test("a gate far from zero neither overflows nor turns into a NaN", async () => {
    // silu(-x) vanishes and silu(x) is x. Beyond exp's range, the quotient must be a zero rather than a NaN.
    const gates = [-1000, -200, -89, -30, 30, 89, 200, 1000];
    const matrix = [...gates, ...gates.map(() => 1)].map((x) => [x, 0, 0, 0]);
    const data = productOf("gated", matrix, [[1, 0, 0, 0]]);
    data.size.epsilon = 0;
    data.input.fill(1, 0, 4); // the stream, so that the norm is 1
    const matmul = await ofBucket(data.kind, VARIANTS.thread, 1);
    const [outputs] = await multiply(bench.device, matmul, data, [{ first: 0, count: 1 }]);
    expectWithin(
      floats(outputs!.output!),
      gates.map((gate) => Math.max(gate, 0)),
      (n) => Math.max(1e-11, 2 ** -20 * gates[n]!), // 1e-11 absolute: silu(-30) is -3e-12
      "gate",
    );
  });

  test("a row of zeros, and one whose squares vanish, are scaled by epsilon alone", async () => {
    const gateAndUp = [
      [1, 2, 3, 4],
      [0, 0, 1, 0],
    ];
    const data = productOf("gated", gateAndUp, [
      [0, 0, 0, 0],
      [5, 6, 7, 8],
    ]);
    data.size.epsilon = 2 ** -16;
    data.input.fill(1e-25, data.inputStride, data.inputStride + 4);
    const matmul = await ofBucket(data.kind, VARIANTS.thread, 1);
    const [outputs] = await multiply(bench.device, matmul, data, [{ first: 0, count: 2 }]);
    // The gate is 70 / sqrt(2^-16) and its silu the same.
    expectWithin(floats(outputs!.output!), [0, 70 * 7 * 2 ** 16], (n) => n * 2 ** 5, "scaled by epsilon");
  });

  test("nothing is recorded before it is prepared: it is refused by name", () => {
    const kind = { form: "store", format: formatOf("q4 minimum") } as const;
    const matmul = new FewRowMatmul(bench.device, kind, VARIANTS["workgroup:4"]);
    const recorder = new Recorder(bench.device.handle, "unprepared");
    const record = () => matmul.record(recorder, bound(matmul), rowSet(0, 2));
    expect(record).toThrow(GpuError);
    expect(record).toThrow("matmul/few_rows store q4/32 minimum f16 workgroup: the kernel was recorded before");
    expect(recorder).toMatchObject({ dispatches: 0, workgroups: 0, streamedBytes: 0 });
    recorder.finish();
  });

  test("what is prepared is what the rows need: their bucket, and the one row it is compared with", async () => {
    const matmul = new FewRowMatmul(bench.device, { form: "store", format: { type: "f32" } });
    const ready = () => BUCKETS.filter((bucket) => matmul.kernel(bucket).ready);
    expect(ready()).toEqual([]);
    await matmul.prepare(1);
    expect(ready()).toEqual([1]);
    await matmul.prepare(3);
    expect(ready()).toEqual([1, 4]);
    await Promise.all([matmul.prepare(4), matmul.prepare(2)]);
    expect(ready()).toEqual([1, 2, 4]);
    expect(matmul.buckets).toEqual([...BUCKETS]);
  });

  test.each<Bucket[][]>([[[1]], [[1, 16]], [[1, 4]], [[1, 4, 16]]])(
    "with buckets %j compiled, and no others, five rows still come out right",
    (compiled) =>
      seeded(async (random) => {
        const kind = { form: "store", format: { type: "f32" } } as const;
        const matmul = new FewRowMatmul(bench.device, kind);
        for (const bucket of compiled) await matmul.kernel(bucket).prepare();
        const data = randomProduct(random, kind, { outputs: 70 });
        const pass = { first: 2, count: 5 };
        const [outputs] = await multiply(bench.device, matmul, data, [pass]);
        expectProducts(data, pass, outputs!, groupsOf(matmul, 70), `buckets ${compiled}`);
        // Slabs: five of 1 row, two of 4, or one of 16.
        const slabs = compiled.includes(16) ? 1 : compiled.includes(4) ? 2 : 5;
        expect(cost(matmul, bound(matmul), 5).workgroups).toBe(slabs * fewRowGroups("store", 70, matmul.variant));
      })(),
  );

  test("of the compiled buckets, the smallest that holds the rows records them", async () => {
    const matmul = new FewRowMatmul(bench.device, { form: "store", format: { type: "f32" } });
    const all: Bucket[] = [1, 4, 16];
    for (const bucket of all) await matmul.kernel(bucket).prepare();
    const product = bound(matmul);
    const records = all.map((bucket) => vi.spyOn(matmul.kernel(bucket), "record"));
    const recordedBy = (count: number) => {
      cost(matmul, product, count);
      const used = all.filter((_, i) => records[i]!.mock.calls.length > 0);
      for (const record of records) record.mockClear();
      return used;
    };
    expect([1, 2, 4, 5, 16, 17].map(recordedBy)).toEqual([[1], [4], [4], [16], [16], [16]]);
  });

  test.each([formatOf("f32"), formatOf("f16"), formatOf("q8 symmetric", "16 f16"), formatOf("q4 minimum", "32 f32")])(
    "a slab reads its matrix and scales once, whatever its number of rows: %j",
    async (format) => {
      const matmul = new FewRowMatmul(bench.device, { form: "store", format });
      for (const bucket of [1, 8] as const) await matmul.kernel(bucket).prepare();
      const bytes = weightBytes(format, 72, 70) + (isBlockFormat(format) ? scaleBytes(format, 72, 70) : 0);
      const streamed = (count: number) => cost(matmul, bound(matmul), count).streamedBytes;
      expect([1, 2, 3, 4, 5, 6, 7, 8].map(streamed)).toEqual(Array(8).fill(bytes));
      expect([9, 16, 17, 32].map(streamed)).toEqual([2, 2, 3, 4].map((slabs) => slabs * bytes));
    },
  );
});

describe.each(KINDS)("few-row matmul, headArgmax, %s", (name) => {
  const variant = VARIANTS[name];
  const N = 257;

  /** Candidates of each row and workgroup. */
  async function candidatesOf(data: ProbeData & { kind: MatmulKind<"headArgmax"> }) {
    const matmul = await ofBucket(data.kind, variant, 2);
    const [outputs] = await multiply(bench.device, matmul, data, [{ first: 0, count: data.rows }]);
    const groups = fewRowGroups("headArgmax", N, variant);
    return Array.from({ length: data.rows }, (_, row) =>
      Array.from({ length: groups }, (_, group) => {
        const at = (row * N + group) * 2;
        return { logit: floats(outputs!.candidates!)[at], id: outputs!.candidates![at + 1] };
      }),
    );
  }

  /** Ids of a workgroup, ascending. */
  const idsOf = (group: number) =>
    Array.from({ length: N }, (_, id) => id).filter((id) => fewRowGroupOf("headArgmax", id, N, variant) === group);

  const oneHot = (rows: number) =>
    Array.from({ length: rows }, (_, r) => Array.from({ length: rows }, (_, k) => +(k === r)));

  test(
    "a tie goes to the lowest of a workgroup's ids, and no id beyond the vocabulary comes in between",
    ofVariant(name, async (random) => {
      // One input component a row, so the row's logits are that column of the weights, exactly.
      const rows = 12;
      const levels = [0, 1, 2, 100];
      const matrix = Array.from({ length: N }, () =>
        Array.from({ length: rows }, (_, r) => random.int(-levels[r % 4]!, levels[r % 4]!) - (r >= 8 ? 1000 : 0)),
      );
      const candidates = await candidatesOf(productOf("headArgmax", matrix, oneHot(rows)));
      for (const [row, groups] of candidates.entries()) {
        const expected = groups.map((_, group) => {
          const ids = idsOf(group);
          const logit = Math.max(...ids.map((id) => matrix[id]![row]!));
          return { logit, id: ids.find((id) => matrix[id]![row] === logit) };
        });
        expect(groups, `row ${row}`).toEqual(expected);
      }
    }),
  );

  test(
    "one logit that is no finite number makes none its workgroup's candidate, and no other's",
    ofVariant(name, async (random) => {
      // Infinities and NaN must not stand in the weights: they would reach the other rows. 2 * 3e38 overflows.
      const spoiling = { Infinity: [3e38, 0], "-Infinity": [-3e38, 0], NaN: [3e38, -3e38] };
      const kinds = Object.values(spoiling);
      const rows = 6;
      const spoilt = Array.from({ length: rows }, () => random.int(0, N - 1));
      const matrix = Array.from({ length: N }, (_, id) =>
        spoilt.flatMap((at, r) => (at === id ? kinds[r % 3]! : [random.int(-9, 9), 0])),
      );
      const inputs = Array.from({ length: rows }, (_, r) =>
        Array.from({ length: 2 * rows }, (_, k) => (k >> 1 === r ? 2 : 0)),
      );
      const candidates = await candidatesOf(productOf("headArgmax", matrix, inputs));
      for (const [row, groups] of candidates.entries()) {
        for (const [group, { id }] of groups.entries()) {
          const ids = idsOf(group);
          const best = ids.reduce((a, b) => (matrix[b]![2 * row]! > matrix[a]![2 * row]! ? b : a));
          expect(id, `row ${row}, workgroup ${group}`).toBe(ids.includes(spoilt[row]!) ? NONE : best);
        }
      }
    }),
  );
});

/** Some columns of a product's matrix, laid out as a matrix of their own. */
function part({ kind, size, weight, scales, values }: ProbeData, { first, count }: IdRun): PackedMatrix {
  const { inputSize } = size;
  const { format } = kind;
  const contents = unpackMatrix(format, weight, scales, inputSize, values.length / inputSize);
  const blocks = isBlockFormat(format) ? Math.ceil(inputSize / format.block) : 0;
  const of = (numbers: Float64Array, width: number) => numbers.slice(first * width, (first + count) * width);
  return packMatrix(format, inputSize, count, {
    elements: of(contents.elements, inputSize),
    scales: of(contents.scales, blocks),
    minima: of(contents.minima, blocks),
  });
}

const PART_FORMATS = [
  formatOf("f32"),
  formatOf("f16"),
  formatOf("q8 symmetric", "16 f16"),
  formatOf("q4 minimum", "32 f32"),
] as const;

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

describe.each(KINDS)("few-row matmul, a head of several matrices, %s", (name) => {
  const variant = VARIANTS[name];

  test.for(["store", "headArgmax"] as const)("%s: they write side by side", (form, context) =>
    ofVariant(name, async (random) => {
      const kind = { form, format: name === "thread" ? random.pick(PART_FORMATS) : PART_FORMATS[0] };
      const matmul = await ofBucket(kind, variant, 2);
      const data = randomProduct(random, kind, { inputSize: 72, outputs: 257 });
      const cuts = [0, random.int(1, 100), random.int(101, 256), 257];
      const runs = cuts.slice(1).map((end, i) => ({ first: cuts[i]!, count: end - cuts[i]! }));
      const groups = runs.map(({ count }) => fewRowGroups(form, count, variant));
      // Where in a result's row each part begins, and where there is nothing any more.
      const begins = form === "store" ? cuts : [0, ...groups].map((_, i) => sum(groups.slice(0, i)));
      const firstId = random.int(0, 5000);
      data.size = { ...data.size, firstId, resultStride: begins.at(-1)! + random.int(0, 5) };
      const [output] = Object.keys(data.before);
      data.before = { [output!]: poisoned(data.rows * data.size.resultStride! * (form === "store" ? 1 : 2)) };

      const pass = randomPass(random, 1, 5);
      const [outputs] = await runProbe(bench.device, data, matmul.shape(data.size), [
        {
          ranges: [{ ...pass, linear: 0 }],
          record: (recorder, buffers, range) => {
            for (const [i, run] of runs.entries()) {
              const { weight, scales } = part(data, run);
              const size = { outputs: run.count, firstId: firstId + run.first, resultOffset: begins[i]! };
              const own = {
                shape: bench.uniform("shape", matmul.shape({ ...data.size, ...size })),
                weight: bench.upload("weight", weight),
                scales: bench.upload("scales", scales),
              };
              matmul.record(recorder, matmul.bind({ ...buffers, ...own }, run.count), rowSet(range, pass.bound));
            }
          },
        },
      ]);
      const groupOf = (n: number) => {
        const i = runs.findIndex(({ first, count }) => n < first + count);
        return begins[i]! + fewRowGroupOf(form, n - runs[i]!.first, runs[i]!.count, variant);
      };
      expectProducts(data, pass, outputs!, groupOf, `${formatName(kind.format)}, cut at ${cuts}`);
    })(context),
  );
});

describe.each(["qkv f32", "qkv f16"] as const)("few-row matmul, %s", (form) => {
  const kind = { ...FORMS[form], format: { type: "f32" } } as const;
  const POSITIONS = 700;

  test.each(["1/1 8", "9/3 16", "3/1 24", "7/7 80", "3/1 128"])(
    "heads of %s: RoPE turns queries and keys, keys and values land in the row's slot, nothing else changes",
    (heads) =>
      seeded(async (random) => {
        const [shape = "", headDim] = heads.split(" ");
        const headShape = headShapeOf(shape as (typeof HEADS)[number], Number(headDim));
        const theta = random.pick([10_000, 500_000]);
        const matmul = await ofBucket(kind, VARIANTS.thread, 4);
        const data = randomProduct(random, kind, { inputSize: 72, headShape });
        const pass = randomPass(random, 2, 12);

        // Positions with the first and the last among them; slots that are not the positions.
        const positions = [0, POSITIONS - 1, ...random.ints(ROW_CAPACITY - 2, 0, POSITIONS - 1)];
        const slots = new Set<number>();
        while (slots.size < ROW_CAPACITY) slots.add(random.int(0, POSITIONS - 1));
        const rows = [...slots].map((slot, i) => ({
          slot,
          position: positions[(i - pass.first + ROW_CAPACITY) % ROW_CAPACITY]!,
        }));
        const slotWords = headShape.kvHeads * headShape.headDim * (kind.kv === "f16" ? 0.5 : 1);
        for (const cache of ["keys", "values"]) data.before[cache] = poisoned(POSITIONS * slotWords);
        const [outputs] = await multiply(bench.device, matmul, data, [pass], {
          rows: bench.rows(rows),
          rotations: bench.upload("rotations", ropeRotations(POSITIONS, headShape.headDim, theta)),
        });

        const expected = { ...data.before };
        for (const [output, words] of Object.entries(expected)) expected[output] = words.slice();
        for (let row = pass.first; row < pass.first + pass.count; row++) {
          const { position, slot } = rows[row]!;
          expectRotated(data, row, outputs!, { position, slot, theta });
          for (const [output, { begin, end }] of rowWords(data, row)) {
            const [from, to] = output === "queries" ? [begin, end] : [slot * slotWords, (slot + 1) * slotWords];
            expected[output]!.set(outputs![output]!.subarray(from, to), from);
          }
        }
        for (const [output, words] of Object.entries(expected)) {
          expectSameBits(outputs![output]!, words, `${output} of no row of the range`);
        }
        bench.release();
      })(),
  );
});

/** Fails unless a row's queries and keys are turned by its position, and keys and values are in its slot. */
function expectRotated(
  data: ProbeData,
  row: number,
  outputs: Readonly<Record<string, Words>>,
  { position, slot, theta }: { position: number; slot: number; theta: number },
): void {
  const { heads, kvHeads, headDim } = data.size.headShape;
  const products = plainProducts(data, row);
  for (let head = 0; head < heads + 2 * kvHeads; head++) {
    const own = products.slice(head * headDim, (head + 1) * headDim);
    const x = Float64Array.from(own, ({ value }) => value);
    const name = head < heads ? "queries" : head < heads + kvHeads ? "keys" : "values";
    const expected = name === "values" ? x : rope(x, position, theta);
    const place = head < heads ? row * heads + head : slot * kvHeads + ((head - heads) % kvHeads);
    const actual = outputNumbers(data, name, outputs[name]!).subarray(place * headDim, (place + 1) * headDim);
    const bound = (i: number) => {
      const partner = own[(i + headDim / 2) % headDim]!;
      return errorBound(data, name, { value: expected[i]!, size: own[i]!.size + partner.size });
    };
    expectWithin(actual, expected, bound, `${name}: row ${row}, head ${head}, position ${position}, slot ${slot}`);
  }
}
