/** The self-check of attention: right kernels pass on this device, whatever the heads; wrong ones are told from them. */

import { expect, test } from "vitest";
import { attentionFault } from "../../src/kernels/attention_check.ts";
import { openBench } from "./harness.ts";
import { miscompiling } from "./miscompile.ts";

const bench = openBench();

test.each([
  [{ heads: 8, kvHeads: 4, headDim: 8 }, "f32", { regime: "generated", variant: "threads" }],
  [{ heads: 3, kvHeads: 1, headDim: 16 }, "f16", { regime: "generated", variant: "workgroup" }],
  [{ heads: 2, kvHeads: 2, headDim: 64 }, "f16", { regime: "prompt", variant: "threads" }],
  [{ heads: 9, kvHeads: 3, headDim: 24 }, "f32", { regime: "prompt", variant: "tiles" }],
] as const)("%j, cache of %s, %j: no fault", async (shape, kvType, tried) => {
  expect(await attentionFault(bench.device, shape, kvType, tried)).toBeUndefined();
});

/** What a driver could make of them. */
const WRONG_RULES = [
  ["return position + 1 - shape.window;", "return position + 2 - shape.window;"],
  ["if (shape.softCap > 0.0) {", "if (shape.softCap < 0.0) {"],
] as const;

const CAPPED = { scale: 0.5, softCap: 50, window: 24 };

test.each([
  [{ regime: "generated", variant: "threads" }],
  [{ regime: "generated", variant: "workgroup" }],
  [{ regime: "prompt", variant: "threads" }],
  [{ regime: "prompt", variant: "tiles" }],
] as const)("with a scale, a soft cap and a window, %j: no fault", async (tried) => {
  const shape = { heads: 4, kvHeads: 2, headDim: 32 };
  expect(await attentionFault(bench.device, shape, "f32", tried, CAPPED)).toBeUndefined();
});

test.each(["generated", "prompt"] as const)(
  "a window or a soft cap that is not kept by %s rows is found out",
  async (regime) => {
    for (const change of WRONG_RULES) {
      const device = miscompiling(bench.device, ({ name }) => (name.includes("merge") ? [] : [change]));
      const shape = { heads: 2, kvHeads: 1, headDim: 8 };
      const fault = await attentionFault(device, shape, "f32", { regime, variant: "threads" }, CAPPED);
      expect(fault).toMatch(/^row \d, head \d, element \d/);
    }
  },
);

test.each(["generated", "prompt"] as const)(
  "a kernel of %s rows that computes something else is found out",
  async (regime) => {
    const device = miscompiling(bench.device, ({ name }) =>
      name.includes("merge") ? [] : [["* shape.scale", "* (shape.scale * 1.01)"]],
    );
    const fault = await attentionFault(device, { heads: 2, kvHeads: 1, headDim: 8 }, "f32", {
      regime,
      variant: "threads",
    });
    expect(fault).toMatch(/^row 0, head 0, element \d: .*, expected .* within 0.0001$/);
  },
);

test("a kernel whose rows change with those beside them is found out", async () => {
  // Off by a unit in the last place where several rows are in the range: far within the bound.
  const device = miscompiling(bench.device, ({ name }) =>
    name.includes("merge")
      ? [["sum / exponentials", "sum / exponentials * select(1.0, 1.0000001, range.count > 2)"]]
      : [],
  );
  const fault = await attentionFault(device, { heads: 2, kvHeads: 1, headDim: 8 }, "f32", {
    regime: "generated",
    variant: "threads",
  });
  expect(fault).toMatch(/^the bits of row \d depend on the rows beside it$/);
});
