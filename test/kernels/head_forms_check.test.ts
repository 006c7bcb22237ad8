/** The check that the head's two forms agree: true for the kernels as they are, false where one of them is miscompiled. */

import { afterEach, describe, expect, test } from "vitest";
import { type FewRowVariant, fewRowGroups } from "../../src/kernels/few_row_variant.ts";
import { headFormsAgree } from "../../src/kernels/head_forms_check.ts";
import { CHECK_SIZE } from "../../src/kernels/matmul_probe.ts";
import { formatName, isBlockFormat, type WeightFormat } from "../../src/kernels/weight_format.ts";
import { openBench } from "./harness.ts";
import { formatOf, runsHere, VARIANTS } from "./matmul_inputs.ts";
import { type Change, miscompiling } from "./miscompile.ts";

const bench = openBench();

afterEach(() => expect(bench.device.ledger.report().buffers, "buffers that a check left behind").toBe(0));

/** The two pipelines that are compared. */
type Form = "headArgmax" | "store";
const BOTH: readonly Form[] = ["headArgmax", "store"];

/** A device that miscompiles a form's kernel, and leaves the other as it is. Fails the test unless it compiles both. */
async function agree(
  format: WeightFormat,
  broken: readonly Form[],
  changes: readonly Change[],
  variant: FewRowVariant = VARIANTS.thread,
) {
  const compiled = new Set<Form | undefined>();
  const device = miscompiling(bench.device, ({ name }) => {
    const compiling = BOTH.find((form) => name.includes(` ${form} `));
    compiled.add(compiling);
    return broken.some((form) => form === compiling) ? changes : [];
  });
  const verdict = await headFormsAgree(device, format, variant);
  expect(compiled).toEqual(new Set(BOTH));
  return verdict;
}

const FORMATS = (["f32", "f16", "q8 symmetric", "q4 symmetric"] as const).map((codes) => formatOf(codes));

/** A product's four parts are added from the last to the first. */
function reversedParts(format: WeightFormat): readonly Change[] {
  const sum = isBlockFormat(format) ? "blockSums[c * M + r]" : "sums[c * M + r]";
  const parts = ["w", "z", "y", "x"].map((part) => `w[c].${part} * x.${part}`);
  return [[`${sum} += dot(w[c], x);`, `${sum} += ${parts.join(" + ")};`]];
}

/** What is wrong with the sums, which both forms have. */
const SUMS: Record<string, Change> = {
  "sums from the last step to the first": [
    "for (var step = slice; step < shape.steps; step += SLICES) {",
    `for (var i = slice; i < shape.steps; i += SLICES) {
       let step = slice + (shape.steps - 1 - slice) / SLICES * SLICES - (i - slice);`,
  ],
  "leaves out the last step": ["step < shape.steps; step", "step < shape.steps - 1; step"],
  "gives all rows the first row's input": [
    "(range.first + min(firstRow + r, range.count - 1)) * shape.inputStride",
    "0 * shape.inputStride",
  ],
  "is one step of the last digit off, in the last row": [
    "let first = sums[(p * WIDTH) * M + r] * norm;",
    "let first = bitcast<f32>(bitcast<u32>(sums[(p * WIDTH) * M + r] * norm) + u32(range.first == 15));",
  ],
};

/** What is wrong with one form alone. */
const OWN: Record<string, readonly [Form, Change]> = {
  "names the next id": ["headArgmax", ["shape.firstId + at)", "shape.firstId + at + 1)"]],
  "keeps a best that is rounded": [
    "headArgmax",
    ["candidate(logit,", "candidate(bitcast<f32>((bitcast<u32>(logit) + 8) & 0xfffffff0u),"],
  ],
  "takes a product for no number": ["headArgmax", ["candidate(logit,", "candidate(bitcast<f32>(0x7fc00000u + at),"]],
  "stores a product that is rounded": [
    "store",
    ["let scaled = product * shape.factor;", "let scaled = bitcast<f32>((bitcast<u32>(product) + 8) & 0xfffffff0u);"],
  ],
  "stores products in the next row": ["store", ["output[row * shape", "output[(row + 1) * shape"]],
};

test.each(FORMATS.map((format) => [formatName(format), format] as const))(
  "headFormsAgree, %s: true for the kernels as they are, false where one adds otherwise",
  async (_, format) => {
    expect(await agree(format, [], [])).toBe(true);
    expect(await agree(format, ["headArgmax"], reversedParts(format))).toBe(false);
  },
);

describe("headFormsAgree, one form broken", () => {
  const f32 = formatOf("f32");

  test.each(Object.keys(SUMS))("false for one that %s", async (name) => {
    expect(await agree(f32, ["store"], [SUMS[name]!])).toBe(false);
  });

  test.each(Object.keys(OWN))("false for one that %s", async (name) => {
    const [form, change] = OWN[name]!;
    expect(await agree(f32, [form], [change])).toBe(false);
  });

  test("it is agreement that is checked: both broken alike agree", async () => {
    expect(await agree(f32, BOTH, [SUMS["sums from the last step to the first"]!])).toBe(true);
  });
});

/** Here outputs are shared so that a row has two workgroups; above it has one. */
test("headFormsAgree, subgroup:4: true for the kernels as they are, false where one workgroup's best is off", async ({
  skip,
}) => {
  skip(!runsHere(bench.device, "subgroup:4"), "no subgroups here");
  const variant = VARIANTS["subgroup:4"];
  expect(fewRowGroups("headArgmax", CHECK_SIZE.outputs, variant)).toBe(2);
  expect(await agree(formatOf("f32"), [], [], variant)).toBe(true);
  for (const which of ["group", "1 - group"]) {
    const best = `Candidate(bitcast<f32>(bitcast<u32>(best.logit) + ${which}), best.id)`;
    const change: Change = ["shape.resultOffset + group] = best;", `shape.resultOffset + group] = ${best};`];
    expect(await agree(formatOf("f32"), ["headArgmax"], [change], variant), which).toBe(false);
  }
});
