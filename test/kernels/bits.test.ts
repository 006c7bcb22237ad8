/** Row r of a pass of M rows equals the row alone, bit for bit: what keeps the text the same whatever is drafted. */

import { beforeAll, describe, expect, test } from "vitest";
import { BUCKETS, FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import type { FewRowVariant } from "../../src/kernels/few_row_variant.ts";
import { kindName, type MatmulKind } from "../../src/kernels/matmul_form.ts";
import { runProbe } from "../../src/kernels/matmul_probe.ts";
import { pairwiseOf } from "../pairwise.ts";
import { type Random, seeded } from "../reference/random.ts";
import { fullMatrix, SLOW } from "../slow.ts";
import { expectSameBits, openBench, rowSet, TABLE_ROWS } from "./harness.ts";
import {
  FORM_NAMES,
  FORMATS,
  FORMS,
  type FormName,
  formatOf,
  type Pass,
  randomProduct,
  rowWords,
  runsHere,
  STORED,
  VARIANTS,
  type VariantName,
} from "./matmul_inputs.ts";

const bench = openBench();

/** Every number of rows of a bucket, and some that run as slabs. */
const ROW_COUNTS = [...Array.from({ length: 16 }, (_, i) => i + 1), 17, 23, 31, TABLE_ROWS];

/** The one-row passes of all rows, and passes of every number of rows, from any row on, of which the host knows more or less. */
async function expectRowsAlone(random: Random, kind: MatmulKind, variant: FewRowVariant): Promise<void> {
  const matmul = new FewRowMatmul(bench.device, kind, variant);
  await Promise.all(BUCKETS.map((bucket) => matmul.prepare(bucket)));
  expect(matmul.buckets, "every bucket is in use here").toEqual([...BUCKETS]);
  const data = randomProduct(random, kind);
  const alone = Array.from({ length: TABLE_ROWS }, (_, first) => ({ first, count: 1 }));
  const together: Required<Pass>[] = ROW_COUNTS.map((count) => ({
    first: random.int(0, TABLE_ROWS - count),
    count,
    bound: random.pick([count, random.int(count, TABLE_ROWS)]),
  }));
  const pass = (ranges: readonly Pass[]): Parameters<typeof runProbe>[3][number] => ({
    ranges: ranges.map(({ first, count }) => ({ first, count })),
    record: (recorder, buffers, firstRange) => {
      const group = matmul.bind(buffers, data.size.outputs);
      for (const [i, { count, bound = count }] of ranges.entries()) {
        matmul.record(recorder, group, rowSet(firstRange + i, bound));
      }
    },
  });
  const passes = [pass(alone), ...together.map((range) => pass([range]))];
  const [rows, ...results] = await runProbe(bench.device, data, matmul.shape(data.size), passes);
  for (const [i, { first, count, bound }] of together.entries()) {
    const { inputSize, outputs, headShape } = data.size;
    const what = `${inputSize} to ${outputs} (${JSON.stringify(headShape)}), rows ${first} + ${count}, bound ${bound}`;
    for (const [name, before] of Object.entries(data.before)) {
      const expected = before.slice();
      for (let row = first; row < first + count; row++) {
        const { begin, end } = new Map(rowWords(data, row)).get(name)!;
        expected.set(rows![name]!.subarray(begin, end), begin);
      }
      expectSameBits(results[i]![name]!, expected, `${what}: ${name}`);
    }
  }
}

describe("a row's bits are the same in every pass, whatever its number of rows, its first row and the host's bound", () => {
  // In turn: what a matrix of one type is made of. Every one of them: few_row_matmul.test.ts.
  const kinds = ["symmetric", "minimum", "codebook"] as const;
  const some = pairwiseOf({
    form: ["store", "add", "gated", "qkv", "headArgmax"],
    type: ["f32", "f16", "q8", "q4"],
    variant: ["thread", "subgroup:4", "workgroup:8"],
  }).map(({ form, type, variant }, i) => {
    const name: FormName = form === "qkv" ? `qkv ${i % 2 === 0 ? "f32" : "f16"}` : form;
    const codes = type === "f32" || type === "f16" ? type : (`${type} ${kinds[i % 3]!}` as const);
    return { ...FORMS[name], variant, format: formatOf(codes, STORED[(i + Math.floor(i / 4)) % 4]) };
  });
  /** What families ask for beside the forms. */
  const families = [
    { form: "store", bias: true, format: formatOf("q4 minimum"), variant: "subgroup:4" },
    { form: "store", normed: true, bias: true, format: formatOf("f32"), variant: "workgroup:8" },
    { form: "store", normed: true, format: formatOf("q8 symmetric"), variant: "thread" },
    { form: "add", bias: true, format: formatOf("f16"), variant: "thread" },
    { form: "gated", normed: false, bias: true, activation: "gelu_tanh", format: formatOf("f32"), variant: "thread" },
    { form: "qkv", kv: "f16", bias: true, format: formatOf("q4 symmetric"), variant: "thread" },
  ] as const;
  const variants = Object.keys(VARIANTS) as VariantName[];
  const cases: (MatmulKind & { variant: VariantName })[] = SLOW
    ? [
        ...fullMatrix({ form: FORM_NAMES, format: FORMATS, variant: variants }).map(({ form, ...others }) => ({
          ...FORMS[form],
          ...others,
        })),
        ...fullMatrix({ kind: families, variant: variants }).map(({ kind, variant }) => ({ ...kind, variant })),
      ]
    : [...some, { form: "gated", format: formatOf("q8 minimum"), variant: "workgroup:4" }, ...families];

  beforeAll(() => {
    if (SLOW) return;
    // Compiled while the tests before them run, on all cores. One that fails fails its test.
    for (const { variant, ...kind } of cases) {
      if (!runsHere(bench.device, variant)) continue;
      const matmul = new FewRowMatmul(bench.device, kind, VARIANTS[variant]);
      for (const bucket of BUCKETS) {
        matmul
          .kernel(bucket)
          .prepare()
          .catch(() => {});
      }
    }
  });

  test.for(cases.map(({ variant, ...kind }) => ({ variant, kind, name: kindName(kind) })))(
    "$name, $variant",
    ({ kind, variant }, { skip }) => {
      skip(!runsHere(bench.device, variant), "no subgroups here");
      return seeded((random) => expectRowsAlone(random, kind, VARIANTS[variant]))();
    },
  );
});
