/**
 * Real checkpoints, as transformers 5 writes them: the Llamas run as golden.json says, every other family is refused in
 * words before anything is loaded.
 */

import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { load, UnsupportedModelError } from "../../src/index.ts";
import { asset, hasAsset } from "../assets.ts";
import { maxAbsDiff, relativeError } from "../reference/compare.ts";
import { ReferenceModel } from "../reference/model.ts";

interface Golden {
  prompt: number[];
  logits_at: number[];
  logits: number[][];
  greedy_prompt: number[];
  greedy: number[];
}

const COPIED = new URL("../assets/families/", import.meta.url).pathname;
const golden = (family: string) => JSON.parse(readFileSync(`${COPIED}${family}/golden.json`, "utf8")) as Golden;

describe("families/llama: f32, one file, its own head", () => {
  const { prompt, logits_at, logits, greedy_prompt, greedy } = golden("llama");

  test("logits within 2e-3 of the golden ones", async () => {
    await using model = await load(`${COPIED}llama`);
    const result = await model.score(prompt, { at: logits_at });
    for (const [i, row] of logits.entries()) expect(maxAbsDiff(result.logits[i]!, row)).toBeLessThan(2e-3);
  });

  test("greedy ids, plain and drafted from every exit", async () => {
    await using model = await load(`${COPIED}llama`);
    const options = { maxTokens: greedy.length, ignoreEos: true };
    expect(model.defaults.drafter).toBe("none");
    expect((await model.generate(greedy_prompt, options).result()).ids).toEqual(greedy);
    for (let exitLayer = 1; exitLayer < model.spec.layers; exitLayer++) {
      const drafted = await model.generate(greedy_prompt, { ...options, exitLayer, draftLength: 4 }).result();
      expect(drafted.ids).toEqual(greedy);
      expect(drafted.stats.drafted).toBeGreaterThan(0);
    }
  });
});

describe("families/llama-mha-bf16-sharded: bf16 in two shards", () => {
  // Its golden file was computed with RoPE's frequencies rounded to bf16 (test/reference/reference.test.ts shows it), which
  // `config.json` does not say. The reference decoder with f32 frequencies is the oracle here; position 0, where RoPE does
  // nothing, is compared with the golden file itself.
  const { prompt, logits_at, logits } = golden("llama-mha-bf16-sharded");

  test("logits are the reference decoder's, and the golden ones where RoPE plays no part", async () => {
    await using model = await load(`${COPIED}llama-mha-bf16-sharded`);
    const result = await model.score(prompt, { at: logits_at });
    const reference = ReferenceModel.load(`${COPIED}llama-mha-bf16-sharded`).logits(prompt);
    for (const [i, at] of logits_at.entries()) {
      expect(relativeError(result.logits[i]!, reference[at]!).error).toBeLessThan(1e-4);
    }
    expect(logits_at[0]).toBe(0);
    expect(maxAbsDiff(result.logits[0]!, logits[0]!)).toBeLessThan(2e-3);
  });
});

describe.skipIf(!hasAsset("families"))("families this version does not run (LAYERLEAP_ASSETS)", () => {
  const others = hasAsset("families")
    ? readdirSync(asset("families")).filter((name) => !["llama", "llama-mha-bf16-sharded"].includes(name))
    : [];

  test.each(others)("%s is refused, naming config.json and the field", async (family) => {
    const failure = await load(asset(`families/${family}`)).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(UnsupportedModelError);
    const { file, field } = failure as UnsupportedModelError;
    expect(file).toMatch(/config\.json$/);
    expect(field).toMatch(/^(model_type|rope_)/);
  });
});
