/** Every few-row matmul there is, products of random rows with random matrices, and what must come out. */

import { expect, type TestContext } from "vitest";
import type { Device } from "../../src/gpu/device.ts";
import { type Bucket, FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import { FEW_ROW_VARIANTS, type FewRowVariant, fewRowGroupOf } from "../../src/kernels/few_row_variant.ts";
import type { ManyRowForm } from "../../src/kernels/many_row_matmul.ts";
import {
  isNormed,
  type MatmulBinding,
  type MatmulForm,
  type MatmulKind,
  streamStride,
  widthOf,
} from "../../src/kernels/matmul_form.ts";
import { type ProbeData, type ProbeSize, probeData, probePosition, runProbe } from "../../src/kernels/matmul_probe.ts";
import { judge } from "../../src/kernels/self_check.ts";
import { type PackedMatrix, packMatrix, unpackMatrix } from "../../src/kernels/weight_codec.ts";
import {
  type BlockFormat,
  type FloatFormat,
  isBlockFormat,
  paddedSize,
  type WeightFormat,
} from "../../src/kernels/weight_format.ts";
import type { ColumnRun } from "../../src/weights/column_runs.ts";
import { type Random, seeded } from "../reference/random.ts";
import { type Bench, bits, type Range, rowSet, TABLE_ROWS, type Words } from "./harness.ts";

/** The forms, `qkv` once for each cache. */
export const FORMS = {
  store: { form: "store" },
  add: { form: "add" },
  gated: { form: "gated" },
  "qkv f32": { form: "qkv", kv: "f32" },
  "qkv f16": { form: "qkv", kv: "f16" },
  headArgmax: { form: "headArgmax" },
} as const satisfies Record<string, Omit<MatmulKind, "format">>;
export type FormName = keyof typeof FORMS;
export const FORM_NAMES = Object.keys(FORMS) as FormName[];

/** Ways to share an output, as far as subgroups of four lanes admit. */
const { "subgroup:8": _, "subgroup:16": __, ...VARIANTS } = FEW_ROW_VARIANTS;

export { VARIANTS };
export type VariantName = keyof typeof VARIANTS;

/** Whether this device has what a variant needs. */
export function runsHere({ handle }: Device, name: VariantName): boolean {
  return VARIANTS[name].kind !== "subgroup" || handle.features.has("subgroups");
}

/** In no order and not even around zero, so that one place taken for another shows. */
const CODEBOOKS = {
  q4: [3, -127, 113, -104, 89, -83, 69, -65, 53, -49, 38, -35, 25, -22, -10, 13],
  q8: Array.from({ length: 256 }, (_, i) => ((i * 167) % 256) * 1.5 - 100),
} as const satisfies Record<BlockFormat["type"], readonly number[]>;

/** What the 16 bytes of a step are. */
export const CODES = [
  "f32",
  "f16",
  "q8 symmetric",
  "q8 minimum",
  "q8 codebook",
  "q4 symmetric",
  "q4 minimum",
  "q4 codebook",
] as const;
/** Elements a block, and the type of its scales; nothing to the floats. */
export const STORED = ["16 f16", "16 f32", "32 f16", "32 f32"] as const;

export function formatOf(codes: (typeof CODES)[number], stored: (typeof STORED)[number] = "32 f16"): WeightFormat {
  if (codes === "f32" || codes === "f16") return { type: codes };
  const [type, kind] = codes.split(" ") as [BlockFormat["type"], BlockFormat["codes"]];
  const [block, scale] = stored.split(" ") as [string, BlockFormat["scale"]];
  const codebook = kind === "codebook" && { codebook: CODEBOOKS[type] };
  return { type, codes: kind, block: block === "16" ? 16 : 32, scale, ...codebook };
}

/** Each weight format once. */
export const FORMATS: WeightFormat[] = [
  ...(["f32", "f16"] as const).map((type): FloatFormat => ({ type })),
  ...CODES.slice(2).flatMap((codes) => STORED.map((stored) => formatOf(codes, stored))),
];

export const INPUT_SIZES = [72, 172, 200, 576] as const;
export const OUTPUT_SIZES = [1, 3, 70, 257] as const;
/** Query heads and key-value heads. */
export const HEADS = ["1/1", "3/1", "7/7", "9/3"] as const;
export const HEAD_DIMS = [8, 16, 24, 32, 40, 64, 80, 96, 128] as const;

export function headShapeOf(heads: (typeof HEADS)[number], headDim: number) {
  const [queryHeads = 0, kvHeads = 0] = heads.split("/").map(Number);
  return { heads: queryHeads, kvHeads, headDim };
}

/** Rows times a matrix, and what the outputs hold before. What is not given is random. */
export function randomProduct(random: Random, kind: MatmulKind, given: Partial<ProbeSize> = {}): ProbeData {
  const size = {
    inputSize: random.pick(INPUT_SIZES),
    outputs: random.pick(OUTPUT_SIZES),
    headShape: headShapeOf(random.pick(HEADS), random.pick(HEAD_DIMS)),
    rows: TABLE_ROWS,
    ...given,
  };
  const data = probeData(kind, size, () => random.uniform());
  if (isNormed(kind)) {
    // Rows of unlike sizes, some so small that the norm's epsilon counts.
    for (let row = 0; row < data.rows; row++) {
      const factor = random.pick([1, 2 ** -10, 2 ** -12]);
      const at = row * data.inputStride;
      data.input.set(
        data.input.subarray(at, at + data.inputStride).map((x) => x * factor),
        at,
      );
    }
  }
  return data;
}

/**
 * A product of given numbers.
 * @param matrix `[columns][K]`, held in f32
 * @param rows `[rows][K]`; what a normed form finds behind the residual stream, which is zero
 */
export function productOf<F extends MatmulForm>(
  form: F,
  matrix: readonly (readonly number[])[],
  rows: readonly (readonly number[])[],
  options: Partial<MatmulKind<F>> = {},
): ProbeData & { kind: MatmulKind<F> } {
  const kind: MatmulKind<F> = { form, format: { type: "f32" }, ...options };
  const inputSize = matrix[0]!.length;
  const outputs = matrix.length / widthOf(form);
  const size = { inputSize, outputs, headShape: { heads: 0, kvHeads: 0, headDim: 0 }, rows: rows.length };
  const data = probeData(kind, size);
  data.input.fill(0);
  for (const [r, row] of rows.entries()) {
    data.input.set(row, r * data.inputStride + (isNormed(kind) ? paddedSize(inputSize) : 0));
  }
  const elements = matrix.flat();
  const packed = packMatrix(kind.format, inputSize, matrix.length, { elements });
  return { ...data, ...packed, kind, values: Float64Array.from(elements) };
}

/** Some columns of a product's matrix, laid out side by side as a matrix of their own, with their biases. */
export function columnsOf(
  { kind, size, weight, scales, values, biases }: ProbeData,
  runs: readonly ColumnRun[],
): PackedMatrix {
  const { inputSize } = size;
  const { format } = kind;
  const contents = unpackMatrix(format, weight, scales, inputSize, values.length / inputSize);
  const blocks = isBlockFormat(format) ? Math.ceil(inputSize / format.block) : 0;
  const of = (numbers: Float64Array, width: number) =>
    Float64Array.from(
      runs.flatMap(({ first, count }) => [...numbers.subarray(first * width, (first + count) * width)]),
    );
  const columns = runs.reduce((sum, { count }) => sum + count, 0);
  const packed = packMatrix(format, inputSize, columns, {
    elements: of(contents.elements, inputSize),
    scales: of(contents.scales, blocks),
    minima: of(contents.minima, blocks),
  });
  const own = runs.flatMap(({ first, count }) => [...bits(biases).subarray(first, first + count)]);
  return { ...packed, scales: Uint32Array.from([...packed.scales, ...own]) };
}

/** Where in the outputs the numbers of a row are: words [begin, end), by name. */
export function rowWords(data: ProbeData, row: number): [name: string, place: { begin: number; end: number }][] {
  const { kind, size } = data;
  const { heads, kvHeads, headDim } = size.headShape;
  const { resultStride = size.outputs } = size;
  const place = (index: number, width: number) => ({ begin: index * width, end: (index + 1) * width });
  switch (kind.form) {
    case "add":
      return [["stream", place(row, streamStride(size.outputs))]];
    case "qkv": {
      const slot = place(probePosition(row), kvHeads * headDim * (kind.kv === "f16" ? 0.5 : 1));
      return [
        ["queries", place(row, heads * headDim)],
        ["keys", slot],
        ["values", slot],
      ];
    }
    case "headArgmax":
      return [["candidates", place(row, 2 * resultStride)]];
    default:
      return [["output", place(row, resultStride)]];
  }
}

/** A dispatch: its rows, and how many the host believes they are at most. */
export interface Pass extends Range {
  bound?: number;
}

/** A range of the table's rows, and a host's bound that is at least its number of rows. */
export function randomPass(random: Random, low: number, high: number): Required<Pass> {
  const bound = random.int(low, high);
  const count = random.int(1, bound);
  return { first: random.int(0, TABLE_ROWS - count), count, bound };
}

/**
 * Multiplies the rows of each pass, each into outputs of its own.
 * @param others buffers to bind in the place of the product's
 * @returns what the outputs of each pass hold, by name
 */
export function multiply<F extends MatmulForm>(
  device: Device,
  matmul: FewRowMatmul<F>,
  data: ProbeData,
  passes: readonly Pass[],
  others: Partial<Record<MatmulBinding<F>, GPUBuffer>> = {},
): Promise<Record<string, Words>[]> {
  return runProbe(
    device,
    data,
    matmul.shape(data.size),
    passes.map(({ first, count, bound = count }) => ({
      ranges: [{ first, count }],
      record: (recorder, buffers, firstRange) => {
        const all: Readonly<Record<MatmulBinding<F>, GPUBuffer>> = { ...buffers, ...others };
        matmul.record(recorder, matmul.bind(all, data.size.outputs), rowSet(firstRange, bound));
      },
    })),
  );
}

/** Fails unless the outputs hold the products of the range's rows, within f32's error, and elsewhere what they held before. */
export function expectProducts(
  data: ProbeData,
  { first, count }: Range,
  outputs: Readonly<Record<string, Words>>,
  groupOf: (output: number) => number,
  what: string,
): void {
  const { ok, worst, where } = judge({ data, groupOf }, { first, count }, outputs);
  const { inputSize, outputs: n } = data.size;
  if (!ok) expect.fail(`${what}: ${inputSize} to ${n}, rows ${first} + ${count}: ${worst} of its bound: ${where}`);
}

/** The workgroup of each output. */
export function groupsOf({ kind, variant }: FewRowMatmul, outputs: number): (output: number) => number {
  return (output) => fewRowGroupOf(kind.form, output, outputs, variant);
}

/** One of each kind. */
export const KINDS = ["thread", "subgroup:4", "workgroup:8"] as const satisfies VariantName[];

/** A test on random inputs, skipped where the device lacks what the variant needs. */
export function ofVariant(bench: Bench, name: VariantName, body: (random: Random) => Promise<void>) {
  return ({ skip }: TestContext): Promise<void> => {
    skip(!runsHere(bench.device, name), "no subgroups here");
    return seeded(body)();
  };
}

/** A matmul of which one bucket is compiled, which then takes any number of rows. */
export async function ofBucket<F extends MatmulForm>(
  { device }: Bench,
  kind: MatmulKind<F>,
  variant: FewRowVariant,
  bucket: Bucket,
) {
  const matmul = new FewRowMatmul(device, kind, variant);
  await matmul.kernel(bucket).prepare();
  return matmul;
}

/** The products of a Llama's layer in a format. */
export function layerKinds(format: WeightFormat): MatmulKind<ManyRowForm>[] {
  return (["qkv", "add", "gated"] as const).map((form) => ({ form, format }));
}
