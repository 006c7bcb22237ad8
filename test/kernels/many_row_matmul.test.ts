import { afterEach, describe, expect, test, vi } from "vitest";
import { GpuError } from "../../src/errors.ts";
import type { Device } from "../../src/gpu/device.ts";
import { bestChoice } from "../../src/kernels/choice.ts";
import { exactInInt8, INT8_BLOCK, type QuantisedElement, quantiseRow } from "../../src/kernels/int8_rows.ts";
import {
  LARGE_TILE,
  ManyRowMatmul,
  type ManyRowVariant,
  runsVariant,
  TILE,
  type Tile,
  takesInt8,
  tileBytes,
  tileOf,
} from "../../src/kernels/many_row_matmul.ts";
import type { MatmulKind } from "../../src/kernels/matmul_form.ts";
import { CHECK_SIZE, type ProbeData, type ProbeSize, probeData, runProbe } from "../../src/kernels/matmul_probe.ts";
import { plainProducts } from "../../src/kernels/plain_matmul.ts";
import { errorBound, judge } from "../../src/kernels/self_check.ts";
import { formatName, type WeightFormat } from "../../src/kernels/weight_format.ts";
import { casesOfRun } from "../pairwise.ts";
import { seeded } from "../reference/random.ts";
import { fullMatrix, SLOW } from "../slow.ts";
import { expectSameBits, floats, openBench, type Range, type Words } from "./harness.ts";
import { miscompileAll } from "./miscompile.ts";

const bench = openBench();

type Form = ManyRowMatmul["kind"]["form"];

/** Small tiles, quick to compile on a software adapter, of which a few rows and outputs make many. */
const SMALL_TILE: Tile = { rows: 16, columns: 16, threadRows: 2, threadColumns: 4, chunkVectors: 2 };

const Q4 = { type: "q4", codes: "symmetric", block: 32, scale: "f16" } as const satisfies WeightFormat;

const FORMS = [
  { form: "store", kv: "f32" },
  { form: "add", kv: "f32" },
  { form: "gated", kv: "f32" },
  { form: "qkv", kv: "f32" },
  { form: "qkv", kv: "f16" },
] as const;

/** Numbers of no pattern: an exchanged pair of entries shows. */
const codebook = (entries: number) =>
  Array.from({ length: entries }, (_, i) => ((i * 37) % entries) - Math.floor(entries / 3));

const FORMATS: WeightFormat[] = [
  { type: "f32" },
  { type: "f16" },
  ...fullMatrix({
    type: ["q8", "q4"],
    codes: ["symmetric", "minimum", "codebook"],
    block: [16, 32],
    scale: ["f16", "f32"],
  } as const).map(({ codes, ...rest }) => ({
    ...rest,
    codes,
    ...(codes === "codebook" && { codebook: codebook(rest.type === "q8" ? 256 : 16) }),
  })),
];

const formatNamed = new Map(FORMATS.map((format) => [formatName(format), format]));

/** Form, format in its parts, and variant: what a kernel is compiled for. */
const KERNELS = fullMatrix({
  form: FORMS,
  format: [...formatNamed.keys()],
  variant: ["tiles", "thread", "int8"],
} as const)
  .filter(({ format, variant }) => variant !== "int8" || takesInt8(formatNamed.get(format)!))
  .map(({ form, format, variant }) => {
    const [codes, codeKind = "", scale = ""] = format.split(" ");
    const [type, block = ""] = codes!.split("/");
    return { form, type, block, codeKind, scale, variant, format };
  });

const SIZES = casesOfRun(
  fullMatrix({ inputSize: [72, 172, 200, 576], outputs: [1, 3, 70, 130], heads: [1, 3, 7, 9] } as const),
);

/** The sizes of case `number`: a few, others for the next case; all of them in a slow run. */
function sizesOf(number: number): readonly (typeof SIZES)[number][] {
  return SLOW ? SIZES : SIZES.filter((_, i) => (i + number) % 8 === 0);
}

/** Sizes of heads: few of them are large, so that the test takes seconds. */
const HEAD_DIMS = [8, 16, 64, 128];

function sizeOf({ inputSize, outputs, heads }: (typeof SIZES)[number], rows: number): ProbeSize {
  const kvHeads = heads === 9 ? 3 : 1;
  const headDim = HEAD_DIMS[(inputSize / 4 + heads) % HEAD_DIMS.length]!;
  return { inputSize, outputs, headShape: { heads, kvHeads, headDim }, rows };
}

/** Runs a product for each pass's ranges; every pass begins with the same outputs. */
async function run(matmul: ManyRowMatmul, data: ProbeData, passes: readonly (readonly Range[])[], bound?: number) {
  return runProbe(
    bench.device,
    data,
    matmul.shape(data.size),
    passes.map((ranges) => ({
      ranges,
      record: (recorder, buffers, firstRange) => {
        const bound_ = matmul.bind(buffers, data.size.outputs);
        for (const [i, { count }] of ranges.entries()) {
          matmul.record(recorder, bound_, { range: firstRange + i, count: bound ?? count, end: 0 });
        }
      },
    })),
  );
}

/** Fails unless the range's rows are right and nothing else was written. */
function expectRight(data: ProbeData, range: Range, outputs: Record<string, Words>, what: string): void {
  const { ok, where } = judge({ data }, range, outputs);
  if (!ok) expect.fail(`${what}: ${where}`);
}

function inputFor(variant: ManyRowVariant, data: ProbeData): ProbeData {
  return variant === "int8" ? exactInInt8(data) : data;
}

function kindOf(form: Form, format: WeightFormat, kv: "f32" | "f16" = "f32"): MatmulKind<Form> {
  return { form, format, kv };
}

describe("many-row matmul", () => {
  // The format's name goes with its parts; as a dimension of its own it would ask for every form with every format.
  const cases = casesOfRun(KERNELS, ({ form, type, block, codeKind, scale, variant }) => ({
    form,
    type,
    block,
    codeKind,
    scale,
    variant,
  }));

  test.each(cases.map((c, number) => ({ ...c, number })))(
    "equals the formula: $form.form, KV $form.kv, $format, $variant",
    ({ form: { form, kv }, format, variant, number }) =>
      seeded(async (random) => {
        const kind = kindOf(form, formatNamed.get(format)!, kv);
        const matmul = new ManyRowMatmul(bench.device, kind, variant, SMALL_TILE);
        await matmul.prepare();
        for (const size of sizesOf(number)) {
          const rows = random.int(20, 36);
          const range = { first: random.int(0, 3), count: random.int(1, rows - 4) };
          const data = inputFor(
            variant,
            probeData(kind, sizeOf(size, rows), () => random.uniform()),
          );
          const [outputs] = await run(matmul, data, [[range]]);
          expectRight(data, range, outputs!, `${JSON.stringify(size)}, ${range.count} rows from ${range.first} on`);
        }
      })(),
  );

  describe.each([
    { variant: "tiles", form: "qkv", format: { type: "f32" } },
    { variant: "thread", form: "add", format: Q4 },
    { variant: "int8", form: "gated", format: Q4 },
  ] as const)("$variant, $form", ({ variant, form, format }) => {
    const kind = kindOf(form, format);
    const rows = 110;
    const size = { inputSize: 172, outputs: 22, headShape: { heads: 2, kvHeads: 1, headDim: 12 }, rows };
    /** The usual tile: the one that models are computed with. */
    const matmul = async () => {
      const usual = new ManyRowMatmul(bench.device, kind, variant);
      await usual.prepare();
      return usual;
    };

    test("a row has the same bits wherever the prompt is cut and whatever rows are beside it", async () => {
      const data = probeData(kind, size);
      const whole = [{ first: 4, count: 100 }];
      const cuts = [1, 7, 32].map((length) => cut(whole[0]!, length));
      const shifted = [
        { first: 4, count: 33 },
        { first: 37, count: 13 },
        { first: 50, count: 54 },
      ];
      const [together, ...others] = await run(await matmul(), data, [whole, ...cuts, shifted]);
      if (variant !== "int8") expectRight(data, whole[0]!, together!, "100 rows");
      for (const [i, outputs] of others.entries()) {
        for (const [name, words] of Object.entries(outputs)) {
          expectSameBits(words, together![name]!, `${name} in rows of ${[1, 7, 32, "several"][i]}`);
        }
      }
    });

    test("rows outside the range may hold anything, and the host's bound may be larger than the range", async () => {
      const data = inputFor(variant, probeData(kind, size));
      const range = { first: 9, count: 37 };
      data.input.fill(NaN, 0, range.first * data.inputStride);
      data.input.fill(NaN, (range.first + range.count) * data.inputStride);
      const [outputs] = await run(await matmul(), data, [[range]], 100);
      expectRight(data, range, outputs!, "between NaNs");
    });

    test("an empty range writes nothing, whatever the host's bound", async () => {
      const data = probeData(kind, { ...size, rows: 40 });
      const [outputs] = await run(await matmul(), data, [[{ first: 3, count: 0 }]], 37);
      for (const [name, words] of Object.entries(outputs!)) expectSameBits(words, data.before[name]!, name);
    });
  });

  test("the size of a tile changes no bit", async () => {
    const kind = kindOf("gated", { type: "f16" });
    const tiles = [
      SMALL_TILE,
      TILE,
      LARGE_TILE,
      { rows: 8, columns: 32, threadRows: 4, threadColumns: 2, chunkVectors: 4 },
    ];
    const data = probeData(kind);
    const range = { first: 1, count: 14 };
    const results: Words[] = [];
    for (const tile of tiles) {
      const matmul = new ManyRowMatmul(bench.device, kind, "tiles", tile);
      await matmul.prepare();
      const [outputs] = await run(matmul, data, [[range]]);
      results.push(outputs!.output!);
    }
    for (const [i, result] of results.entries()) expectSameBits(result, results[0]!, JSON.stringify(tiles[i]));
  });

  test("the tile is the largest that the workgroup memory holds", () => {
    const withLimit = (maxComputeWorkgroupStorageSize: number) =>
      tileOf({ handle: { limits: { maxComputeWorkgroupStorageSize } } } as Device);
    expect(withLimit(16384)).toBe(TILE); // WebGPU's default: every device has it
    expect(withLimit(32768)).toBe(LARGE_TILE);
    expect(tileBytes(TILE)).toBeLessThanOrEqual(16384);
    for (const { rows, columns, threadRows, threadColumns } of [TILE, LARGE_TILE]) {
      expect((rows / threadRows) * (columns / threadColumns)).toBeLessThanOrEqual(256);
    }
  });

  test("a kernel that computes wrong is refused", async () => {
    const matmul = new ManyRowMatmul(bench.device, kindOf("store", { type: "f32" }), "tiles", SMALL_TILE);
    miscompileAll(bench.device, "sums[r * COLUMNS + c] += dot(w[c], x);", "sums[r * COLUMNS + c] = dot(w[c], x);");
    const refused = matmul.prepare();
    await expect(refused).rejects.toThrow(GpuError);
    await expect(refused).rejects.toThrow(/many_rows store f32 tiles.*wrong numbers.*output, number \d+/);
  });

  test("a kernel that gives a row other bits in another place is refused", async () => {
    miscompileAll(bench.device, "dot(w[c], x)", "dot(w[c], x) * select(1.0, 1.0000002, r > 0u)");
    const matmul = new ManyRowMatmul(bench.device, kindOf("store", { type: "f32" }), "tiles", SMALL_TILE);
    await expect(matmul.prepare()).rejects.toThrow(/bits of a row depend on its place/);
  });
});

afterEach(() => vi.restoreAllMocks());

describe("many-row matmul, int8", () => {
  const formats = [
    { type: "q8", codes: "symmetric", block: 32, scale: "f16" },
    { type: "q4", codes: "symmetric", block: 16, scale: "f32" },
  ] as const;

  test("takes symmetric block codes only, where the device multiplies integers", () => {
    expect(FORMATS.filter(takesInt8).map(({ type }) => type)).toEqual(
      Array(8)
        .fill(0)
        .map((_, i) => (i < 4 ? "q8" : "q4")),
    );
    expect(runsVariant(bench.device, "int8", Q4)).toBe(true);
    expect(runsVariant(bench.device, "int8", { type: "f16" })).toBe(false);
    expect(() => new ManyRowMatmul(bench.device, kindOf("store", { type: "f16" }), "int8")).toThrow(RangeError);
    expect(bestChoice(bench.device).manyRows).not.toBe("int8"); // it changes ids: only where it is asked for
  });

  test.each(formats)(
    "$type: equals rows quantised on the host, and plain rows within half a code an element",
    (format) =>
      seeded(async (random) => {
        const kind = kindOf("store", format);
        const matmul = new ManyRowMatmul(bench.device, kind, "int8", SMALL_TILE);
        await matmul.prepare();
        for (const inputSize of [72, 200, 576]) {
          const probe = { ...CHECK_SIZE, inputSize, rows: 20 };
          const data = probeData(kind, probe, () => random.uniform());
          // A block of zeros has no scale.
          data.input.fill(0, 2 * data.inputStride, 2 * data.inputStride + INT8_BLOCK);
          const range = { first: 1, count: 18 };
          const [outputs] = await run(matmul, data, [[range]]);
          const actual = floats(outputs!.output!);
          for (let row = range.first; row < range.first + range.count; row++) {
            expectQuantised(data, row, actual);
          }
        }
      })(),
  );

  /**
   * A row's products against the host's quantisation, which may put an element within a rounding of a tie on the other
   * side; and against plain arithmetic, from which each element is off by half a code.
   */
  function expectQuantised(data: ProbeData, row: number, actual: Float32Array): void {
    const { inputSize, outputs } = data.size;
    const begin = row * data.inputStride;
    const quantised = quantiseRow(data.input.subarray(begin, begin + inputSize));
    const input = Float32Array.from(data.input);
    input.set(
      quantised.map(({ value }) => value),
      begin,
    );
    const expected = plainProducts({ ...data, input }, row);
    const plain = plainProducts(data, row);
    for (let n = 0; n < outputs; n++) {
      const weights = data.values.subarray(n * inputSize, (n + 1) * inputSize);
      const rounding = errorBound(data, "output", expected[n]!);
      const offBy = (codes: (element: QuantisedElement) => number) =>
        quantised.reduce((sum, element, k) => sum + Math.abs(weights[k]!) * element.scale * codes(element), rounding);
      const number = actual[row * outputs + n]!;
      const what = `row ${row}, output ${n}`;
      expect(Math.abs(number - expected[n]!.value), what).toBeLessThanOrEqual(
        offBy(({ margin }) => Number(margin < NEAR_TIE)),
      );
      expect(Math.abs(number - plain[n]!.value), what).toBeLessThanOrEqual(offBy(() => 0.5 + NEAR_TIE));
    }
  }
});

/** By how much of a code x / scale may be off on the device: 127 times some roundings of f32 (WGSL's division: 2.5 units). */
const NEAR_TIE = 127 * 8 * 2 ** -23;

/** A range in pieces of at most `length` rows. */
function cut({ first, count }: Range, length: number): Range[] {
  return Array.from({ length: Math.ceil(count / length) }, (_, i) => ({
    first: first + i * length,
    count: Math.min(length, count - i * length),
  }));
}
