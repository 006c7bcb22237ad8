import { describe, expect, test } from "vitest";
import addCode from "../../shaders/matmul/add.wgsl?raw";
import bestCode from "../../shaders/matmul/best.wgsl?raw";
import columnsCode from "../../shaders/matmul/columns.wgsl?raw";
import dotRowsCode from "../../shaders/matmul/dot_rows.wgsl?raw";
import gatedCode from "../../shaders/matmul/gated.wgsl?raw";
import headArgmaxCode from "../../shaders/matmul/head_argmax.wgsl?raw";
import storeCode from "../../shaders/matmul/store.wgsl?raw";
import rowsCode from "../../shaders/rows/rows.wgsl?raw";
import { DeviceLostError } from "../../src/errors.ts";
import { Device } from "../../src/gpu/device.ts";
import { COMMON_CONSTANTS } from "../../src/kernels/constants.ts";
import { FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import { Kernel } from "../../src/kernels/kernel.ts";
import { columnsOf, MATMUL_BINDINGS, type MatmulBinding, type MatmulForm } from "../../src/kernels/matmul_form.ts";
import { matchesOneRowTwin } from "../../src/kernels/twin_check.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { seeded } from "../reference/random.ts";
import { openBench, rowSet } from "./harness.ts";
import { expectProducts, FORMS, randomCase, uploadCase, uploadOutput } from "./matmul_case.ts";

const bench = openBench();

const CODE: Record<MatmulForm, string> = {
  store: [dotRowsCode, columnsCode, storeCode].join("\n"),
  add: [dotRowsCode, columnsCode, addCode].join("\n"),
  gated: [dotRowsCode, columnsCode, gatedCode].join("\n"),
  headArgmax: [dotRowsCode, bestCode, headArgmaxCode].join("\n"),
};

/** A form's kernel of M rows, with every text of `changes` in its code replaced by the other. */
async function changed(form: MatmulForm, M: number, ...changes: [from: string, to: string][]) {
  let code = CODE[form];
  for (const [from, to] of changes) {
    if (code.split(from).length !== 2) throw new Error(`the code of ${form} has no one place that says: ${from}`);
    code = code.replace(from, to);
  }
  // A name of its own, for messages.
  const name = `test/${form} ${changes.flat().join(" ")}`;
  const constants = { ...COMMON_CONSTANTS, M, COLUMNS: columnsOf(form) };
  const source = { name, code: [rowsCode, code], bindings: MATMUL_BINDINGS };
  const kernel = new Kernel<MatmulBinding>(bench.device, source, constants);
  await kernel.prepare();
  return kernel;
}

/** The sum over K from the end to the beginning. */
const REVERSED: [string, string] = [
  "for (var k = 0u; k < shape.inputVectors; k++) {",
  "for (var i = 0u; i < shape.inputVectors; i++) { let k = shape.inputVectors - 1 - i;",
];

/** One step of the last digit, in the last row alone. */
const LAST_ROW_ONE_ULP: [string, string] = [
  "return sums;",
  "sums[M - 1] = bitcast<f32>(bitcast<u32>(sums[M - 1]) + 1); return sums;",
];

const TWO_SUMS: [string, string][] = [
  ["var sums: array<f32, COLUMNS * M>;", "var sums: array<f32, COLUMNS * M>; var halves: array<f32, COLUMNS * M>;"],
  [
    "sums[c * M + r] += dot(w[c], x);",
    "if (k < shape.inputVectors / 2) { sums[c * M + r] += dot(w[c], x); } else { halves[c * M + r] += dot(w[c], x); }",
  ],
  ["return sums;", "for (var i = 0u; i < COLUMNS * M; i++) { sums[i] += halves[i]; } return sums;"],
];

async function oneRow(form: MatmulForm): Promise<Kernel<MatmulBinding>> {
  const kernel = new FewRowMatmul(bench.device, form).kernel(1);
  await kernel.prepare();
  return kernel;
}

describe.each(FORMS)("matchesOneRowTwin, %s", (form) => {
  // The other buckets: few_row_matmul.test.ts, where all are prepared and must be in use.
  test("true for the kernels as they are", async () => {
    const twin = await oneRow(form);
    for (const bucket of [1, 2, 8] as const) {
      const kernel = new FewRowMatmul(bench.device, form).kernel(bucket);
      await kernel.prepare();
      expect(await matchesOneRowTwin(bench.device, form, twin, kernel, bucket), `bucket ${bucket}`).toBe(true);
    }
    expect(bench.device.ledger.report().buffers).toBe(0);
  });

  test.each([
    ["sums in the other direction", [REVERSED]],
    ["splits K in two", TWO_SUMS],
    ["is one step of the last digit off, in its last row", [LAST_ROW_ONE_ULP]],
    ["gives its rows the first row's input", [["input[base[r] + k]", "input[base[0] + k]"]]],
  ] satisfies [string, [string, string][]][])("false for a pipeline that %s", async (_, changes) => {
    const twin = await oneRow(form);
    expect(await matchesOneRowTwin(bench.device, form, twin, await changed(form, 2, ...changes), 2)).toBe(false);
  });
});

test("matchesOneRowTwin, add: false for a pipeline that starts from the residual instead of adding it last", async () => {
  const residualFirst = await changed(
    "add",
    2,
    [
      "var sums: array<f32, COLUMNS * M>;",
      `var sums: array<f32, COLUMNS * M>;
       for (var r = 0u; r < M; r++) { sums[r] = output[(range.first + firstRow + r) * shape.columns + column]; }`,
    ],
    ["output[at] += product;", "output[at] = product;"],
  );
  expect(await matchesOneRowTwin(bench.device, "add", await oneRow("add"), residualFirst, 2)).toBe(false);
});

describe("a bucket whose bits differ", () => {
  /** The check on this device, with one bucket's pipeline in the place of others. */
  const withPipelines =
    (others: ReadonlyMap<number, Kernel<MatmulBinding>>): typeof matchesOneRowTwin =>
    (device, form, twin, kernel, count) =>
      matchesOneRowTwin(device, form, twin, others.get(count) ?? kernel, count);

  test(
    "is not used: its rows go to the next, the largest bucket's to slabs of the one before it",
    seeded(async (random) => {
      const form = "store";
      const bad = new Map([
        [4, await changed(form, 4, REVERSED)],
        [16, await changed(form, 16, REVERSED)],
      ]);
      const matmul = new FewRowMatmul(bench.device, form, withPipelines(bad));
      for (const count of [1, 2, 3, 8, 16, 32]) await matmul.prepare(count);
      expect(matmul.buckets).toEqual([1, 2, 8]);
      const case_ = randomCase(random, form, 172, 70);
      for (const count of [1, 2, 3, 4, 7, 9, 16, 21, 32]) {
        const range = { first: random.int(0, 32 - count), count };
        const output = uploadOutput(bench, case_, range);
        const bound = matmul.bind({ ...uploadCase(bench, case_, [range]), output }, case_.N);
        const [actual] = await bench.run((r) => matmul.record(r, bound, rowSet(0, count)), output);
        expectProducts(actual, case_, range);
        bench.release();
      }
    }),
  );

  test(
    "where none is left, rows run one by one",
    seeded(async (random) => {
      const form = "gated";
      const matmul = new FewRowMatmul(bench.device, form, async () => false);
      await matmul.prepare(16);
      expect(matmul.buckets).toEqual([1]);
      const case_ = randomCase(random, form, 64, 70);
      const range = { first: 3, count: 9 };
      const output = uploadOutput(bench, case_, range);
      const bound = matmul.bind({ ...uploadCase(bench, case_, [range]), output }, case_.N);
      const [actual] = await bench.run((r) => matmul.record(r, bound, rowSet(0, 16)), output);
      expectProducts(actual, case_, range);
    }),
  );

  test("each bucket is checked once, before its first use, and the one-row pipeline never", async () => {
    const checked: number[] = [];
    const matmul = new FewRowMatmul(bench.device, "store", async (_device, _form, twin, kernel, count) => {
      checked.push(count);
      return kernel !== twin && count !== 2;
    });
    await matmul.prepare(1);
    expect(checked).toEqual([]);
    await Promise.all([matmul.prepare(2), matmul.prepare(2), matmul.prepare(3)]);
    await matmul.prepare(2);
    await matmul.prepare(4);
    expect(checked.sort()).toEqual([2, 4]);
    expect(matmul.buckets).toEqual([1, 4, 8, 16]);
  });
});

test("a device that is lost during the check is reported, and leaves no buffer behind", async () => {
  const device = await Device.open(await defaultGpu());
  const matmul = new FewRowMatmul(device, "store");
  await matmul.prepare(1);
  await matmul.kernel(2).prepare();
  device.handle.destroy();
  await device.handle.lost;
  await expect(matmul.prepare(2)).rejects.toThrow(DeviceLostError);
  expect(device.ledger.report().buffers).toBe(0);
  device.dispose();
});
