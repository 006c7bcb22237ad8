/** `layerleap score`, against logits of an independent implementation, and `layerleap inspect`. */

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

describe("inspect", () => {
  test("shows the model and the device in a table", async () => {
    const run = await layerleap(["inspect"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    for (const row of [
      "layers  ",
      "vocabulary  ",
      "LayerSkip  ",
      "KV cache  ",
      "subgroups  ",
      "kernels  ",
      "largest buffer  ",
    ]) {
      expect(run.stdout).toContain(row);
    }
    expect(run.stdout).toMatch(/LayerSkip +exit layer 2, draft length 4 recommended/);
  });

  test("--json tells the same to scripts", async () => {
    const { code, stdout } = await layerleap(["inspect", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      model: {
        family: "llama",
        layers: 5,
        vocab_size: 512,
        dtype: "f32",
        layerskip: { exit_layer: 2, draft_length: 4 },
      },
      memory: { by_owner: { weights: expect.any(Number), kv: expect.any(Number) } },
      device: { limits: { max_buffer_size: expect.any(Number) } },
    });
  });

  test("--dtype q4 shows what the GPU then holds", async () => {
    const { stdout } = await layerleap(["inspect", "--dtype", "q4", "--json"]);
    const { model, memory } = JSON.parse(stdout) as { model: object; memory: { by_owner: { weights: number } } };
    expect(model).toMatchObject({ dtype: "q4", weight_bytes: 1_040_128 });
    // 260,032 numbers of 4.5 and 8.5 bits and what pads 64 and 172 to steps of 32, norms in f32.
    expect(memory.by_owner.weights).toBeGreaterThan(260_032 / 2);
    expect(memory.by_owner.weights).toBeLessThan(260_032);
    expect((await layerleap(["inspect", "--dtype", "q4"])).stdout).toMatch(
      /weights +1,015\.8 KiB in the checkpoint, held in q4/,
    );
  });
});
