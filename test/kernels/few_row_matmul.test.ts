import { beforeAll, describe, expect, test, vi } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import {
  type BoundMatmul,
  BUCKETS,
  type Bucket,
  bucketFor,
  bucketsFor,
  FewRowMatmul,
} from "../../src/kernels/few_row_matmul.ts";
import { type FewRowVariant, fewRowGroupOf, fewRowGroups } from "../../src/kernels/few_row_variant.ts";
import type { MatmulKind } from "../../src/kernels/matmul_form.ts";
import { CHECK_SIZE } from "../../src/kernels/matmul_probe.ts";
import { packMatrix } from "../../src/kernels/weight_codec.ts";
import { formatName, isBlockFormat, paddedSize, scaleBytes, weightBytes } from "../../src/kernels/weight_format.ts";
import { pairwiseOf } from "../pairwise.ts";
import { type Random, seeded } from "../reference/random.ts";
import { fullMatrix, SLOW } from "../slow.ts";
import { expectSameBits, expectWithin, floats, openBench, rowSet, TABLE_ROWS } from "./harness.ts";
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
  KINDS,
  multiply,
  OUTPUT_SIZES,
  ofBucket,
  ofVariant,
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
/** A matrix from 72 inputs to 70 outputs, bound. */
function bound(matmul: FewRowMatmul<"store">): BoundMatmul {
  const size = { inputSize: 72, outputs: 70 };
  const { weight, scales } = packMatrix(matmul.kind.format, 72, 70, { elements: [] });
  const buffers = {
    range: bench.ranges({ first: 0, count: TABLE_ROWS }),
    shape: bench.uniform("shape", matmul.shape(size)),
    weight: bench.upload("weight", weight),
    scales: bench.upload("scales", scales),
    input: bench.output("input", TABLE_ROWS * paddedSize(72)),
    output: bench.output("output", TABLE_ROWS * 70),
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
  const matmul = await ofBucket(bench, kind, variant, bucket);
  const turn = random.int(0, 1000);
  for (const [i, outputs] of OUTPUT_SIZES.entries()) {
    const next = <T>(choices: readonly T[]): T => choices[(turn + i) % choices.length]!;
    const headShape = headShapeOf(next(HEADS), next(HEAD_DIMS));
    const data = randomProduct(random, kind, { inputSize: next(INPUT_SIZES), outputs, headShape });
    const pass = randomPass(random, 1, Math.min(TABLE_ROWS, 2 * bucket + 1));
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
      ofBucket(bench, { ...FORMS[form], format }, VARIANTS[variant], bucket).catch(() => {});
    }
  });

  test.for(cases.map((case_) => ({ ...case_, name: formatName(case_.format) })))(
    "$form of $name, $variant, $bucket rows at a time",
    ({ form, format, variant, bucket }, context) =>
      ofVariant(bench, variant, (random) =>
        expectFormula(random, { ...FORMS[form], format }, VARIANTS[variant], bucket),
      )(context),
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
    ofVariant(bench, variant, async (random) => {
      const matmul = await ofBucket(bench, kind, VARIANTS[variant], 2);
      const data = randomProduct(random, kind, { inputSize: 72, outputs: 70, headShape: CHECK_SIZE.headShape });
      const passes = [1, 2, 5, 32].map((bound) => ({ first: random.int(0, TABLE_ROWS - 1), count: 0, bound }));
      for (const outputs of await multiply(bench.device, matmul, data, passes)) {
        for (const [name, words] of Object.entries(outputs)) expectSameBits(words, data.before[name]!, name);
      }
    })(context),
  );

  test.for(KINDS)(
    "%s: rows outside the range may hold anything, and a row of NaN inside it stays alone",
    (variant, context) =>
      ofVariant(bench, variant, async (random) => {
        const matmul = await ofBucket(bench, kind, VARIANTS[variant], 2);
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

  test("a model of many kinds of products has fewer buckets: 1 and 8 always", () => {
    expect([1, 4, 5, 6, 9, 30].map((kinds) => [...bucketsFor(kinds)].sort((a, b) => a - b))).toEqual([
      ...[BUCKETS, BUCKETS, [1, 2, 4, 8], [1, 4, 8], [1, 8], [1, 8]],
    ]);
  });

  test("rows take a bucket of those that are wanted, also where a smaller one would hold them", async () => {
    const matmul = new FewRowMatmul(bench.device, { form: "store", format: formatOf("f32") });
    await matmul.prepare(2, [1, 8]);
    const ready = BUCKETS.filter((bucket) => matmul.kernel(bucket).ready);
    expect(ready).toEqual([1, 8]);
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
    const matmul = await ofBucket(bench, data.kind, VARIANTS.thread, 1);
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
    const matmul = await ofBucket(bench, data.kind, VARIANTS.thread, 1);
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
