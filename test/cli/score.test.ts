/** `layerleap score`, against logits of an independent implementation. */

import { describe, expect, test } from "vitest";
import { goldenCase } from "../golden.ts";
import { maxAbsDiff } from "../reference/compare.ts";
import { layerleap, type Run } from "./command.ts";

function parsed(run: Run): { ids: number[]; at: number[]; logits: number[][] } {
  expect(run).toMatchObject({ code: 0, stderr: "" });
  return JSON.parse(run.stdout);
}

describe("score", () => {
  const { logits_ids, logits_at, logits } = goldenCase("long");
  const ids = logits_ids!.join();

  test.each(Object.entries(logits!))("the logits of layer '%s' are the reference's", async (layer, expected) => {
    const exit = layer === "full" ? [] : ["--exit-layer", layer];
    const output = parsed(await layerleap(["score", "--ids", ids, "--at", logits_at!.join(), ...exit, "--json"]));
    expect(Object.keys(output)).toEqual(["ids", "at", "logits"]);
    expect(output).toMatchObject({ ids: logits_ids, at: logits_at });
    for (const [row, reference] of expected.entries()) {
      expect(maxAbsDiff(output.logits[row]!, reference), `position ${logits_at![row]}`).toBeLessThan(1e-3);
    }
  });

  test("without --at every position is scored, and a pipe takes all of it", async () => {
    const output = parsed(await layerleap(["score", "--ids", ids, "--json"]));
    expect(output.at).toEqual(logits_ids!.map((_, position) => position));
    expect(output.logits.map((row) => row.length)).toEqual(logits_ids!.map(() => 512));
    // Floats as they are on the device, without rounding for print.
    expect(output.logits.flat()).toEqual(output.logits.flat().map(Math.fround));
  });

  test("without --json the likeliest tokens of each position are listed", async () => {
    const { prompt, greedy } = goldenCase("once");
    const run = await layerleap(["score", "--ids", prompt.join(), "--at", "0,4"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const lines = run.stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(2 * 6);
    expect(lines[6]).toMatch(/^position 4, after id 378 /);
    expect(lines[7]).toContain(` ${greedy[0]} `);
  });
});
