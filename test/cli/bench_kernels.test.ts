/** `layerleap bench kernels`, `positions` and `prefill`: that all is measured and counted, never how fast it was. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PositionsResult } from "../../bench/kernels/positions.ts";
import type { PrefillResult } from "../../bench/kernels/prefill.ts";
import type { Spread } from "../../bench/kernels/statistics.ts";
import type { ShapeComparison, ShapeResult } from "../../bench/kernels.ts";
import { layerleap } from "./command.ts";

const TINY = ["--shapes", "stories260K", "--repetitions", "1", "--json"];

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerleap-test-"));
});

afterAll(() => rm(folder, { recursive: true }));

/** A measured quantity above zero, its median within its range. */
function expectSpread({ median, range }: Spread): void {
  expect(median).toBeGreaterThan(0);
  expect(median).toBeLessThan(Number.POSITIVE_INFINITY);
  expect(range[0]).toBeLessThanOrEqual(median);
  expect(range[1]).toBeGreaterThanOrEqual(median);
}

describe("bench kernels", () => {
  test("measures every kernel with each number of rows against the ceilings", async () => {
    const { stdout, code } = await layerleap(["bench", "kernels", ...TINY, "--rows", "1,3"]);
    expect(code).toBe(0);
    const { dtype, repetitions, shapes } = JSON.parse(stdout) as {
      dtype: string;
      repetitions: number;
      shapes: ShapeResult[];
    };
    expect({ dtype, repetitions }).toEqual({ dtype: "q4", repetitions: 1 });
    expect(shapes.map(({ shape }) => shape)).toEqual(["stories260K"]);
    const [{ ceilings, kernels, growth }] = shapes as [ShapeResult];
    for (const name of ["copy", "read", "fma"] as const) expectSpread(ceilings[name].rate);

    const names = kernels.map(({ kernel, rows, position }) => `${kernel} ${rows}${position ? ` ${position}` : ""}`);
    expect(names).toEqual([
      ...["qkv", "output", "gated", "down", "head"].flatMap((kernel) => [`${kernel} 1`, `${kernel} 3`]),
      ...["attention 1 500", "attention 3 500", "attention 1 4000", "attention 3 4000"],
      ...["norm 1", "norm 3", "embedding 1", "embedding 3"],
      ...["prompt-qkv 128", "prompt-output 128", "prompt-gated 128", "prompt-down 128", "prompt-attention 128"],
    ]);
    for (const row of kernels) {
      for (const fraction of [row.ofCopy, row.ofRead, row.ofFma]) expectSpread(fraction);
      expect(row.gbPerSecond).toBeCloseTo(row.bytes / row.ms / 1e6, 6);
      expect(row.gflopPerSecond).toBeCloseTo(row.operations / row.ms / 1e6, 6);
      expect(row.calls).toBeGreaterThanOrEqual(1);
    }

    // 64 x 128 four-bit codes with an f16 scale for each 32; per row the stream in, heads out.
    const [one, three] = kernels as [(typeof kernels)[0], (typeof kernels)[0]];
    const matrix = 64 * 128 * (0.5 + 2 / 32);
    expect(one).toMatchObject({ bytes: matrix + 4 * (2 * 64 + 128), operations: 2 * 64 * 128 });
    expect(three).toMatchObject({ bytes: matrix + 3 * 4 * (2 * 64 + 128), operations: 3 * 2 * 64 * 128 });
    const attention = kernels.find(({ kernel }) => kernel === "attention")!;
    expect(attention.operations).toBe(4 * 64 * 501);
    expect(attention.bytes).toBe(2 * 501 * 4 * 8 * 4 + 2 * 64 * 4);

    expect(growth.map(({ kernel }) => kernel)).toEqual(["qkv", "output", "gated", "down", "layer", "head"]);
    for (const { rows, ofCopy, overFewest } of growth) {
      expect(rows).toBe(1);
      expectSpread(ofCopy);
      expect(overFewest.map((more) => more.rows)).toEqual([3]);
      for (const { ratio } of overFewest) expectSpread(ratio);
    }
  });

  test("compares two variants on the kernels they differ on", async () => {
    const variants = "promptAttention=threads,promptAttention=tiles";
    const { stdout, code } = await layerleap(["bench", "kernels", ...TINY, "--rows", "1", "--compare", variants]);
    expect(code).toBe(0);
    const { a, b, shapes } = JSON.parse(stdout) as { a: string; b: string; shapes: ShapeComparison[] };
    expect([a, b]).toEqual(variants.split(","));
    const [{ rows }] = shapes as [ShapeComparison];
    expect(rows.map(({ kernel }) => kernel)).toEqual(["prompt-attention"]);
    expectSpread(rows[0]!.ratio);
  });

  test("prints the time of more rows over one, and tables", async () => {
    const args = ["--shapes", "stories260K", "--repetitions", "1", "--rows", "1,2", "--only", "head"];
    const { stdout, code } = await layerleap(["bench", "kernels", ...args]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Device: .*\nWeights: q4\. .*\n\n### stories260K\n\nKernels: fewRows=/);
    expect(stdout).toMatch(
      /\| matmul \| 1 row, of copy \|.*\| 2 rows \/ 1 row \| \(range\) \|\n.*\n\| head \| [\d.]+ % \|/,
    );
    expect(stdout).toMatch(/\| head \| 2 \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+ % \|/);
    expect(stdout).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe("bench positions", () => {
  const args = ["bench", "positions", "--shape", "stories260K", "--positions", "300,20,100", "--repetitions", "1"];

  test("fits a line and plots it", async () => {
    const plot = join(folder, "plot.svg");
    const { stdout, code } = await layerleap([...args, "--json", "--plot", plot]);
    expect(code).toBe(0);
    const { rows, line, largestDeviation, attention, slopeRatio } = JSON.parse(stdout) as PositionsResult;
    expect(rows.map(({ position }) => position)).toEqual([20, 100, 300]);
    for (const { position, ms, offLine } of rows) {
      expectSpread(ms);
      expect(ms.median).toBeCloseTo((line.intercept + line.slope * position) * (1 + offLine), 9);
      expect(Math.abs(offLine)).toBeLessThanOrEqual(largestDeviation);
    }
    expectSpread(attention.matmulRate);
    expect(slopeRatio).toBeCloseTo(line.slope / attention.msPerPosition, 9);
    expect(await readFile(plot, "utf8")).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  });
});

describe("bench prefill", () => {
  test("compares a prompt with as many plain steps", async () => {
    const args = ["--shape", "stories260K", "--tokens", "40", "--repetitions", "1", "--json"];
    const { stdout, code } = await layerleap(["bench", "prefill", ...args]);
    expect(code).toBe(0);
    const { tokens, steps, prefillMs, stepMs, factor } = JSON.parse(stdout) as PrefillResult;
    expect({ tokens, steps }).toEqual({ tokens: 40, steps: 8 });
    for (const quantity of [prefillMs, stepMs, factor]) expectSpread(quantity);
    expect(factor.median).toBeCloseTo((40 * stepMs.median) / prefillMs.median, 6);
  });
});

describe("a wrong call is a usage error that says what was found and what was expected", () => {
  test.each<[string, string[], RegExp]>([
    [
      "an unknown shape",
      ["kernels", "--shapes", "SmolLM2-135M,GPT-5"],
      /--shapes: found GPT-5, expected SmolLM2-135M, /,
    ],
    ["no rows", ["kernels", "--rows", "0"], /--rows: found 0, expected whole numbers from 1 to 64/],
    ["too many rows", ["kernels", "--rows", "1,65"], /--rows: found 65/],
    ["an unknown kernel", ["kernels", "--only", "mlp"], /--only: found mlp, expected qkv, output, /],
    ["one variant", ["kernels", "--compare", "kv=f16"], /--compare: found one setting, expected two/],
    ["three variants", ["kernels", "--compare", "kv=f16,kv=f32,kv=f16"], /--compare: found 3 settings/],
    [
      "an unknown variant",
      ["kernels", "--compare", "kv=f16,kv=q8"],
      /--compare: found kv=q8, expected kv= and one of f32/,
    ],
    ["one position", ["positions", "--positions", "7,7"], /--positions: found 7 alone, expected two/],
    ["position 0", ["positions", "--positions", "0,7"], /--positions: found 0, expected/],
    ["an unknown shape for positions", ["positions", "--shape", "x"], /--shape: found x, expected SmolLM2-135M, /],
    ["an unknown shape for a prompt", ["prefill", "--shape", "x"], /--shape: found x/],
    ["a prompt beyond any context", ["prefill", "--tokens", "9999999"], /--tokens: found 9999999/],
  ])("%s", async (_name, args, line) => {
    const run = await layerleap(["bench", ...args]);
    expect(run).toMatchObject({ code: 2, stdout: "" });
    expect(run.stderr).toMatch(/^layerleap: [^\n]+\n$/);
    expect(run.stderr).toMatch(line);
  });

  test("a plot in no folder fails before anything is measured", async () => {
    const run = await layerleap(["bench", "positions", "--plot", join(folder, "none", "plot.svg")]);
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).toMatch(/^layerleap: --plot .*none[/\\]plot\.svg: there is no folder .*: check the path\n$/);
  });
});
