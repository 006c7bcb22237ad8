/**
 * Real checkpoints of every family, as transformers 4 and 5 write them: logits and ids are those of golden.json, which
 * independent implementations computed (../shared/assets/README.md), with and without drafts.
 */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { load, type Model, type ModelSource } from "../../src/index.ts";
import { inverseFrequencies } from "../../src/kernels/rope.ts";
import { openFolder } from "../../src/platform/node.ts";
import type { Folder } from "../../src/weights/source.ts";
import { FAMILIES, familyFolder } from "../families.ts";
import { memoryFolder, safetensors } from "../memory_folder.ts";
import { maxAbsDiff } from "../reference/compare.ts";
import { readTensors } from "../reference/safetensors.ts";
import { SLOW } from "../slow.ts";

interface Golden {
  prompt: number[];
  logits_at: number[];
  logits: number[][];
  greedy_prompt: number[];
  greedy: number[];
}

const read = (family: string, file: string): unknown =>
  JSON.parse(readFileSync(`${familyFolder(family)}/${file}`, "utf8"));

const DRAFT_LENGTH = 4;

/** Its golden file was computed with RoPE's frequencies rounded to bf16, which `config.json` does not say: see below. */
const ROUNDED = "llama-mha-bf16-sharded";

test("there is a folder of every family and quirk", () => {
  expect(FAMILIES).toHaveLength(12);
});

describe.each(FAMILIES.map((family, number) => ({ family, number })))("families/$family", ({ family, number }) => {
  const golden = read(family, "golden.json") as Golden;
  const source: ModelSource = family === ROUNDED ? withRoundedFrequencies(family) : familyFolder(family);

  test("f32: golden logits within 2e-3, golden ids, plain and drafted", async () => {
    await using model = await load(source);
    expect(model.warnings).toEqual([]);
    const { logits } = await model.score(golden.prompt, { at: golden.logits_at });
    for (const [i, row] of golden.logits.entries()) expect(maxAbsDiff(logits[i]!, row)).toBeLessThan(2e-3);
    expect(model.defaults.drafter).toBe("none");
    expect(await idsOf(model, golden)).toEqual(golden.greedy);
    // Every exit in the slow run, one of them in the fast one.
    const exits = Array.from({ length: model.spec.layers - 1 }, (_, i) => i + 1);
    for (const exitLayer of SLOW ? exits : [exits[number % exits.length]!]) {
      expect(await idsOf(model, golden, exitLayer)).toEqual(golden.greedy);
    }
  });

  test.runIf(SLOW)("f16 and q4: drafting changes no id", async () => {
    for (const dtype of ["f16", "q4"] as const) {
      await using model = await load(source, { dtype });
      const plain = await idsOf(model, golden);
      for (let exitLayer = 1; exitLayer < model.spec.layers; exitLayer++) {
        expect(await idsOf(model, golden, exitLayer)).toEqual(plain);
      }
    }
  });
});

/** Gemma 3 from 4B on sees too: its text part is in the settings' `text_config`, and the tensors' names have a prefix. */
describe("the text part of a model that sees", () => {
  const golden = read("gemma3", "golden.json") as Golden;
  const config = read("gemma3", "config.json") as Record<string, unknown>;
  const tensors = readTensors(familyFolder("gemma3"));
  tensors.set("vision_tower.embed.weight", { shape: [3], values: new Float32Array(3) });

  test.each([
    ["as the hub has it", (name: string) => `language_model.${name}`],
    ["as transformers has it in memory", (name: string) => name.replace("model.", "model.language_model.")],
  ])("%s", async (_, rename) => {
    const part = new Map(
      [...tensors].map(([name, tensor]) => [name.startsWith("vision") ? name : rename(name), tensor]),
    );
    const { eos_token_id, model_type: _none, ...text_config } = config;
    const files = {
      "config.json": json({ model_type: "gemma3", eos_token_id, text_config, vision_config: { hidden_size: 1152 } }),
      "model.safetensors": safetensors(part),
      "tokenizer.json": new Uint8Array(readFileSync(`${familyFolder("gemma3")}/tokenizer.json`)),
    };
    await using model = await load(memoryFolder("gemma-3-vision", files));
    expect(model.spec).toMatchObject({ family: "gemma3_text", eosTokenIds: [eos_token_id] });
    const { logits } = await model.score(golden.prompt, { at: golden.logits_at });
    for (const [i, row] of golden.logits.entries()) expect(maxAbsDiff(logits[i]!, row)).toBeLessThan(2e-3);
    expect(await idsOf(model, golden)).toEqual(golden.greedy);
    const norm = rename("model.norm.weight");
    part.delete(norm);
    const without = load(memoryFolder("gemma-3-vision", { ...files, "model.safetensors": safetensors(part) }));
    await expect(without).rejects.toMatchObject({ code: "file-format", field: norm, found: "no such tensor" });
  });

  test("errors name the fields where they stand", async () => {
    const reading = (changes: object) =>
      load(
        memoryFolder("m", { "config.json": json({ model_type: "gemma3", ...changes }), "tokenizer.json": json({}) }),
      );
    await expect(reading({})).rejects.toMatchObject({ code: "file-format", field: "text_config", found: "nothing" });
    const text_config = { ...config, hidden_size: 0 };
    await expect(reading({ text_config })).rejects.toMatchObject({ field: "text_config.hidden_size", found: "0" });
    const quantization_config = { quant_method: "gptq" };
    await expect(reading({ text_config: config, quantization_config })).rejects.toMatchObject({
      ...{ code: "unsupported-model", field: "quantization_config" },
    });
    const other = { text_config: { ...config, model_type: "mamba" } };
    await expect(reading(other)).rejects.toMatchObject({ code: "unsupported-model", field: "text_config.model_type" });
  });
});

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

async function idsOf(model: Model, { greedy_prompt, greedy }: Golden, exitLayer?: number): Promise<number[]> {
  const drafting = exitLayer === undefined ? {} : { exitLayer, draftLength: DRAFT_LENGTH };
  const options = { maxTokens: greedy.length, ignoreEos: true, ...drafting };
  const { ids, stats } = await model.generate(greedy_prompt, options).result();
  expect(stats.drafted > 0).toBe(exitLayer !== undefined);
  return ids;
}

/**
 * The same checkpoint with frequencies rounded to bf16, said in the words of `config.json`: as LongRoPE's divisors. That the
 * golden file is met exactly then, and missed by 0.16 without, shows what it was computed with (a model that was converted to
 * bf16 with its buffers). Runtimes, transformers among them, keep the frequencies in f32.
 */
function withRoundedFrequencies(family: string): Folder {
  const folder = openFolder(familyFolder(family));
  const config = read(family, "config.json") as { head_dim: number; rope_parameters: { rope_theta: number } };
  const { head_dim: rotaryDim, rope_parameters } = config;
  const ropeTheta = rope_parameters.rope_theta;
  const frequencies = inverseFrequencies({ ropeTheta, rotaryDim, scaling: { type: "default" } }, 1);
  const divisors = [...frequencies].map((frequency) => frequency / bfloat16(frequency));
  const changed = {
    ...config,
    rope_parameters: {
      rope_type: "longrope",
      rope_theta: ropeTheta,
      ...{ short_factor: divisors, long_factor: divisors, attention_factor: 1, factor: 1 },
    },
  };
  const bytes = new TextEncoder().encode(JSON.stringify(changed));
  return {
    name: folder.name,
    async open(path, signal) {
      if (path !== "config.json") return folder.open(path, signal);
      return {
        name: `${folder.name}/config.json, frequencies rounded`,
        size: bytes.length,
        read: async (offset, length) => bytes.slice(offset, offset + length),
        close: async () => {},
      };
    },
  };
}

/** Rounded to the nearest bf16, ties to even. */
function bfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(Uint32Array.of(rounded).buffer)[0]!;
}
