import { describe, expect, test } from "vitest";
import { DeviceLostError } from "../../src/errors.ts";
import { Device } from "../../src/gpu/device.ts";
import { type Bucket, FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import { type FewRowVariant, THREAD_VARIANT } from "../../src/kernels/few_row_variant.ts";
import type { MatmulKind } from "../../src/kernels/matmul_form.ts";
import { matchesOneRowTwin } from "../../src/kernels/twin_check.ts";
import { isBlockFormat } from "../../src/kernels/weight_format.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { seeded } from "../reference/random.ts";
import { openBench } from "./harness.ts";
import {
  expectProducts,
  FORM_NAMES,
  FORMS,
  formatOf,
  groupsOf,
  multiply,
  randomProduct,
  runsHere,
  VARIANTS,
} from "./matmul_inputs.ts";
import { type Change, miscompiling } from "./miscompile.ts";

const bench = openBench();

/** Whether a bucket that is compiled with some changes passes for the one-row pipeline, which is compiled without them. */
async function passes(kind: MatmulKind, variant: FewRowVariant, bucket: Bucket, changes: readonly Change[] = []) {
  const alone = new FewRowMatmul(bench.device, kind, variant).kernel(1);
  const device = miscompiling(bench.device, () => changes);
  const together = new FewRowMatmul(device, kind, variant).kernel(bucket);
  await Promise.all([alone.prepare(), together.prepare()]);
  return matchesOneRowTwin(bench.device, kind, variant, { alone, together, count: bucket });
}

/** The steps of a slice, from the last to the first. */
const REVERSED: Change = [
  "for (var step = slice; step < shape.steps; step += SLICES) {",
  `for (var i = slice; i < shape.steps; i += SLICES) {
     let step = slice + (shape.steps - 1 - slice) / SLICES * SLICES - (i - slice);`,
];

/** One step of the last digit, in the last row alone. */
const LAST_ROW_ONE_ULP: Change = [
  "let first = sums[(p * WIDTH) * M + r] * norm;",
  "let first = bitcast<f32>(bitcast<u32>(sums[(p * WIDTH) * M + r] * norm) + u32(r == M - 1));",
];

/** A slice's steps in two sums, the even ones and the odd ones. */
const TWO_SUMS: Change[] = [
  ["    var codes: array<Codes, COLUMNS>;", "    other = (step / SLICES) % 2 == 1; var codes: array<Codes, COLUMNS>;"],
  [
    "  var sums: array<f32, COLUMNS * M>;\n  for",
    "  var sums: array<f32, COLUMNS * M>; var others: array<f32, COLUMNS * M>; var other: bool;\n  for",
  ],
  ["  return sums;", "  for (var i = 0u; i < COLUMNS * M; i++) { sums[i] += others[i]; } return sums;"],
];
const TWO_FLOAT_SUMS: Change[] = [
  ...TWO_SUMS,
  [
    "sums[c * M + r] += dot(w[c], x);",
    "if (other) { others[c * M + r] += dot(w[c], x); } else { sums[c * M + r] += dot(w[c], x); }",
  ],
];
const TWO_BLOCK_SUMS: Change[] = [
  ...TWO_SUMS,
  [
    "sums[c * M + r] += scale.x * blockSums[c * M + r];",
    `if (other) { others[c * M + r] += scale.x * blockSums[c * M + r]; }
     else { sums[c * M + r] += scale.x * blockSums[c * M + r]; }`,
  ],
];

const FIRST_ROWS_INPUT: Change = ["input[base[r] + step * VECTORS + i]", "input[base[0] + step * VECTORS + i]"];

const CHANGES = {
  "sums in the other direction": () => [REVERSED],
  "keeps two partial sums": ({ format }: MatmulKind) => (isBlockFormat(format) ? TWO_BLOCK_SUMS : TWO_FLOAT_SUMS),
  "is one step of the last digit off, in its last row": () => [LAST_ROW_ONE_ULP],
  "gives its rows the first row's input": () => [FIRST_ROWS_INPUT],
} as const satisfies Record<string, (kind: MatmulKind) => readonly Change[]>;

/** The shortest steps and the longest. */
const FORMATS = { f32: formatOf("f32"), q4: formatOf("q4 minimum", "16 f32") } as const;

describe.each(FORM_NAMES)("matchesOneRowTwin, %s", (form) => {
  const kindOf = (format: keyof typeof FORMATS): MatmulKind => ({ ...FORMS[form], format: FORMATS[format] });

  // The other buckets, formats and variants: bits.test.ts, where all are prepared and must be in use.
  test("true for the kernels as they are", async () => {
    const buckets = [1, 2, 8] as const;
    const accepted = await Promise.all(buckets.map((bucket) => passes(kindOf("f32"), THREAD_VARIANT, bucket)));
    expect(accepted).toEqual([true, true, true]);
    expect(bench.device.ledger.report().buffers).toBe(0);
  });

  test.each(Object.keys(CHANGES) as (keyof typeof CHANGES)[])("false for a pipeline that %s", async (name) => {
    const kinds = [kindOf("f32"), kindOf("q4")];
    const accepted = await Promise.all(kinds.map((kind) => passes(kind, THREAD_VARIANT, 2, CHANGES[name](kind))));
    expect(accepted).toEqual([false, false]);
    expect(bench.device.ledger.report().buffers).toBe(0);
  });
});

describe.each(["subgroup:4", "workgroup:8"] as const)("matchesOneRowTwin, %s", (name) => {
  const variant = VARIANTS[name];

  test.for(["f32", "q4"] as const)("%s: true as it is, false with changes", async (format, { skip }) => {
    skip(!runsHere(bench.device, name), "no subgroups here");
    const kind: MatmulKind = { form: "add", format: FORMATS[format] };
    const changes = Object.entries(CHANGES).map(([what, changesOf]) => [what, changesOf(kind)] as const);
    const verdicts = [["nothing", []] as const, ...changes].map(
      async ([what, list]) => [what, await passes(kind, variant, 2, list)] as const,
    );
    const expected = Object.fromEntries(changes.map(([what]) => [what, false]));
    expect(Object.fromEntries(await Promise.all(verdicts))).toEqual({ nothing: true, ...expected });
  });
});

const AROUND_THE_SUMS = {
  "starts from the residual instead of adding it last": [
    { form: "add" },
    [
      "var sums: array<f32, COLUMNS * M>;\n  for",
      `var sums: array<f32, COLUMNS * M>;
       for (var i = 0u; i < COLUMNS * M; i++) {
         let row = range.first + min(firstRow + i % M, range.count - 1);
         sums[i] = stream[row * shape.resultStride + min(output + i / M * shape.spread, shape.outputs - 1)];
       }
       for`,
    ],
    ["let sum = stream[place] + product * shape.factor;", "let sum = product;"],
  ],
  "weighs a sum that was not rounded": [
    { form: "add" },
    [
      "let sum = stream[place] + product * shape.factor;",
      "let held = stream[place]; let sum = held + product * shape.factor;",
    ],
    ["= sum * normWeight[at];", "= fma(product, normWeight[at], held * normWeight[at]);"],
  ],
  "adds the shares of a norm from the last to the first": [
    { form: "gated" },
    ["sum += squares[r * NORM_SHARES + share];", "sum += squares[r * NORM_SHARES + NORM_SHARES - 1 - share];"],
  ],
  "norms all rows as the first": [
    { form: "qkv" },
    ["sum += squares[r * NORM_SHARES + share];", "sum += squares[share];"], //
  ],
  "divides before it multiplies": [
    { form: "gated" },
    ["return x / (1.0 + exp(min(-x, 80.0)));", "return x * (1.0 / (1.0 + exp(min(-x, 80.0))));"], //
  ],
  "rotates with other roundings": [
    { form: "qkv" },
    ["x * rotation.x - y * rotation.y", "(x + y) * rotation.x - y * (rotation.x + rotation.y)"],
  ],
  "turns its rows by the first row's position": [
    { form: "qkv" },
    ["let place = rows[row];", "var place = rows[row]; place.position = rows[range.first].position;"],
  ],
  "writes its rows' values to the first row's slot": [
    { form: "qkv" },
    ["writeValue(place.slot * shape.kvHeads", "writeValue(rows[range.first].slot * shape.kvHeads"],
  ],
  "adds a bias in two halves": [
    { form: "store", bias: true },
    [
      "return product + bitcast<f32>(scales[shape.biasBegin + column]);",
      "let half = 0.5 * bitcast<f32>(scales[shape.biasBegin + column]); return (product + half) + half;",
    ],
  ],
  "adds the first column's bias to both": [
    { form: "gated", bias: true, normed: false },
    ["biased(last, column + shape.partner)", "biased(last, column)"],
  ],
  "computes gelu by tanh": [
    { form: "gated", activation: "gelu_tanh" },
    ["return x / (1.0 + exp(-2.0 * max(t, -40.0)));", "return 0.5 * x * (1.0 + tanh(t));"],
  ],
  "norms all rows it stores as the first": [
    { form: "store", normed: true },
    ["sum += squares[r * NORM_SHARES + share];", "sum += squares[share];"], //
  ],
} as const satisfies Record<string, readonly [Omit<MatmulKind, "format">, ...Change[]]>;

describe("matchesOneRowTwin, what is before and behind the sums", () => {
  test.each(Object.keys(AROUND_THE_SUMS) as (keyof typeof AROUND_THE_SUMS)[])(
    "false for a pipeline that %s",
    async (name) => {
      const [kind, ...changes] = AROUND_THE_SUMS[name];
      expect(await passes({ ...kind, format: FORMATS.f32 }, THREAD_VARIANT, 16, changes)).toBe(false);
    },
  );
});

describe("a bucket whose bits differ", () => {
  /** A matmul on a device that miscompiles some buckets. */
  function miscompiled<const K extends MatmulKind>(kind: K, variant: FewRowVariant, buckets: readonly Bucket[]) {
    const device = miscompiling(bench.device, (_, { M }) => (buckets.some((bucket) => bucket === M) ? [REVERSED] : []));
    return new FewRowMatmul(device, kind, variant);
  }

  test(
    "is not used: its rows go to the next, the largest bucket's to slabs of the one before it",
    seeded(async (random) => {
      const matmul = miscompiled({ form: "store", format: formatOf("f16") }, THREAD_VARIANT, [4, 16]);
      for (const count of [1, 2, 3, 8, 16, 32]) await matmul.prepare(count);
      expect(matmul.buckets).toEqual([1, 2, 8]);
      const data = randomProduct(random, matmul.kind, { outputs: 70 });
      for (const count of [1, 2, 3, 4, 7, 9, 16, 21, 32]) {
        const range = { first: random.int(0, 32 - count), count };
        const [outputs] = await multiply(bench.device, matmul, data, [range]);
        expectProducts(data, range, outputs!, groupsOf(matmul, 70), `${count} rows`);
      }
    }),
  );

  test(
    "where none is left, rows run one by one",
    seeded(async (random) => {
      const matmul = miscompiled({ form: "gated", format: formatOf("f32") }, THREAD_VARIANT, [2, 4, 8, 16]);
      await matmul.prepare(16);
      expect(matmul.buckets).toEqual([1]);
      const data = randomProduct(random, matmul.kind, { outputs: 70 });
      const range = { first: 3, count: 9 };
      const [outputs] = await multiply(bench.device, matmul, data, [{ ...range, bound: 16 }]);
      expectProducts(data, range, outputs!, groupsOf(matmul, 70), "row by row");
    }),
  );

  test("each bucket is checked once, before its first use, and the one-row pipeline never", async () => {
    const checked: number[] = [];
    const kind = { form: "store", format: formatOf("f32") } as const;
    const matmul = new FewRowMatmul(
      bench.device,
      kind,
      THREAD_VARIANT,
      async (_device, of, variant, { alone, together, count }) => {
        expect(of).toBe(kind);
        expect(variant).toBe(THREAD_VARIANT);
        expect([alone, together]).toEqual([matmul.kernel(1), matmul.kernel(count as Bucket)]);
        expect(alone.ready && together.ready).toBe(true);
        checked.push(count);
        return count !== 2;
      },
    );
    await matmul.prepare(1);
    expect(checked).toEqual([]);
    await Promise.all([matmul.prepare(2), matmul.prepare(2), matmul.prepare(3)]);
    await matmul.prepare(2);
    await matmul.prepare(4);
    expect(checked.sort()).toEqual([2, 4]);
    expect(matmul.buckets).toEqual([1, 4, 8, 16]);
  });

  test("a check that fails to decide is made again the next time", async () => {
    let checks = 0;
    const kind = { form: "store", format: formatOf("f32") } as const;
    const matmul = new FewRowMatmul(bench.device, kind, THREAD_VARIANT, async () => {
      if (++checks === 1) throw new Error("undecided");
      return true;
    });
    await expect(matmul.prepare(2)).rejects.toThrow("undecided");
    await matmul.prepare(2);
    await matmul.prepare(2);
    expect(checks).toBe(2);
  });
});

test("a device that is lost during the check is reported, and leaves no buffer behind", async () => {
  const device = await Device.open(await defaultGpu());
  const matmul = new FewRowMatmul(device, { form: "store", format: formatOf("q4 symmetric") });
  await matmul.prepare(1);
  await matmul.kernel(2).prepare();
  device.handle.destroy();
  await device.handle.lost;
  await expect(matmul.prepare(2)).rejects.toThrow(DeviceLostError);
  expect(device.ledger.report().buffers).toBe(0);
  device.dispose();
});
