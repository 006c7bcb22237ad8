/** Which tensors lie in which matrix: fused ones, biases, parts, several formats. No GPU: what a plan takes is in numbers. */

import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { SOURCE_LAYOUTS, type SourceType } from "../../src/kernels/source_type.ts";
import { formatName } from "../../src/kernels/weight_format.ts";
import { readModelSpec } from "../../src/model/config.ts";
import type { TensorSpec } from "../../src/model/spec.ts";
import type { Dtype } from "../../src/types.ts";
import { conversionsOf } from "../../src/weights/conversions.ts";
import type { Holding } from "../../src/weights/dtype.ts";
import {
  headFormats,
  type Landing,
  type MatrixPlan,
  matricesOf,
  matrixShape,
  normsOf,
  plannedBytes,
  planWeights,
  scalesBytes,
} from "../../src/weights/plan.ts";
import type { WeightTensor } from "../../src/weights/source.ts";
import { memorySource } from "./memory_source.ts";
import { type Json, readJson } from "./model_folder.ts";

const CONFIGS = join(import.meta.dirname, "../model/configs");
const MIB = 2 ** 20;
/** WebGPU's default limit of a binding. */
const BINDABLE = 128 * MIB;
const NO_LIMIT = Number.MAX_SAFE_INTEGER;

const as = (dtype: Dtype): Holding => ({ dtype, keepsBlocks: false });
const STORED: Holding = { dtype: "f16", keepsBlocks: true };

/** A published model whose weights are of the types that `typeOf` says. */
function modelOf(name: string, changes: Json = {}, typeOf: (name: string) => SourceType = () => "BF16") {
  const { tensors } = readModelSpec({ ...readJson(CONFIGS, `${name}.json`), ...changes }, undefined, name);
  const source = memorySource(new Uint8Array(0));
  const tensor = ({ name, shape }: TensorSpec): WeightTensor => {
    return { name, shape, dtype: typeOf(name), source, offset: 0, byteLength: 0 };
  };
  return { tensors, tensor };
}

/** A landing in short: the tensor behind the layer's name, and its numbers. */
function short(landings: readonly Landing[]) {
  return landings.map(({ tensor, firstRow, rows, firstColumn }) => {
    const name = tensor.name.replace(/^model\.(layers\.\d+\.)?/, "");
    return [name, { firstRow, rows, firstColumn }];
  });
}

const runs = (parts: readonly MatrixPlan[]) => parts.map(({ firstColumn, columns }) => [firstColumn, columns]);

describe("tensors side by side", () => {
  test("queries, keys and values are one matrix, with their biases", () => {
    const { layers } = planWeights(modelOf("Qwen2.5-0.5B-Instruct"), as("f16"), BINDABLE);
    expect(layers).toHaveLength(24);
    const { qkv, output, down, gateUp } = layers[3]!;
    expect(qkv).toHaveLength(1);
    expect(qkv[0]).toMatchObject({
      inputSize: 896,
      columns: 1152,
      firstColumn: 0,
      bias: true,
      format: { type: "f16" },
    });
    const landings = (kind: string) => [
      [`self_attn.q_proj.${kind}`, { firstRow: 0, rows: 896, firstColumn: 0 }],
      [`self_attn.k_proj.${kind}`, { firstRow: 0, rows: 128, firstColumn: 896 }],
      [`self_attn.v_proj.${kind}`, { firstRow: 0, rows: 128, firstColumn: 1024 }],
    ];
    expect(short(qkv[0]!.landings)).toEqual(landings("weight"));
    expect(short(qkv[0]!.biases)).toEqual(landings("bias"));
    expect(qkv[0]!.name).toBe(
      "model.layers.3.self_attn.q_proj.weight + model.layers.3.self_attn.k_proj.weight + model.layers.3.self_attn.v_proj.weight",
    );
    for (const matrix of [...output, ...down, ...gateUp]) expect(matrix).toMatchObject({ bias: false, biases: [] });
  });

  test("all products have biases where the settings say so", () => {
    const model = modelOf("Llama-3.2-1B", { attention_bias: true, mlp_bias: true });
    const { output, down, gateUp } = planWeights(model, as("q4"), BINDABLE).layers[0]!;
    expect(short(output[0].biases)).toEqual([["self_attn.o_proj.bias", { firstRow: 0, rows: 2048, firstColumn: 0 }]]);
    expect(short(down[0].biases)).toEqual([["mlp.down_proj.bias", { firstRow: 0, rows: 2048, firstColumn: 0 }]]);
    expect(short(gateUp[0]!.biases)).toEqual([
      ["mlp.gate_proj.bias", { firstRow: 0, rows: 8192, firstColumn: 0 }],
      ["mlp.up_proj.bias", { firstRow: 0, rows: 8192, firstColumn: 8192 }],
    ]);
    for (const matrix of [output[0], down[0], gateUp[0]!]) expect(matrix.bias).toBe(true);
  });

  test("slices of a fused tensor: rows count within the slice", () => {
    const { qkv, gateUp } = planWeights(modelOf("Phi-4-mini-instruct"), as("f16"), BINDABLE).layers[0]!;
    expect(short(qkv[0]!.landings)).toEqual([
      ["self_attn.qkv_proj.weight", { firstRow: 0, rows: 3072, firstColumn: 0 }],
      ["self_attn.qkv_proj.weight", { firstRow: 0, rows: 1024, firstColumn: 3072 }],
      ["self_attn.qkv_proj.weight", { firstRow: 0, rows: 1024, firstColumn: 4096 }],
    ]);
    expect(qkv[0]!.landings.map(({ tensor }) => tensor.slice!.firstRow)).toEqual([0, 3072, 4096]);
    expect(qkv[0]!.columns).toBe(5120);
    expect(short(gateUp[0]!.landings)).toEqual([
      ["mlp.gate_up_proj.weight", { firstRow: 0, rows: 8192, firstColumn: 0 }],
      ["mlp.gate_up_proj.weight", { firstRow: 0, rows: 8192, firstColumn: 8192 }],
    ]);
  });

  test("sizes of a tensor, of a slice and of a vector", () => {
    const shape = [12, 8];
    expect(matrixShape({ name: "m", shape })).toEqual({ rows: 12, inputSize: 8 });
    expect(matrixShape({ name: "m", shape, slice: { firstRow: 4, rows: 3 } })).toEqual({ rows: 3, inputSize: 8 });
    expect(matrixShape({ name: "v", shape: [8] })).toEqual({ rows: 1, inputSize: 8 });
  });
});

describe("what a device does not bind whole", () => {
  test("the vocabulary is cut into parts as even as their steps admit", () => {
    const { embedding, head } = planWeights(modelOf("Llama-3.2-1B"), as("f32"), BINDABLE);
    expect(head, "tied").toBeUndefined();
    expect(runs(embedding)).toEqual([
      ...Array.from({ length: 7 }, (_, i) => [16384 * i, 16384]),
      [7 * 16384, 128256 - 7 * 16384],
    ]);
    expect(short(embedding[7]!.landings)).toEqual([
      ["embed_tokens.weight", { firstRow: 114688, rows: 13568, firstColumn: 0 }],
    ]);
    expect(embedding[1]!.name).toBe("model.embed_tokens.weight, from 16384 on");
    expect(planWeights(modelOf("Llama-3.2-1B"), as("f32"), NO_LIMIT).embedding[0]!.name).toBe(
      "model.embed_tokens.weight",
    );
  });

  test("gate and up are cut alike, their slices and biases with them", () => {
    for (const name of ["Phi-4-mini-instruct", "Llama-3.2-1B"]) {
      const model = modelOf(name, { mlp_bias: true, hidden_size: 3072, num_attention_heads: 24 });
      const { gateUp } = planWeights(model, as("f32"), BINDABLE).layers[0]!;
      expect(runs(gateUp)).toEqual([
        [0, 8192],
        [4096, 8192],
      ]);
      for (const [i, part] of gateUp.entries()) {
        const columns = [0, 4096].map((firstColumn) => ({ firstRow: 4096 * i, rows: 4096, firstColumn }));
        expect(short(part.landings).map(([, landing]) => landing)).toEqual(columns);
        if (part.bias) expect(short(part.biases).map(([, landing]) => landing)).toEqual(columns);
      }
      expect(gateUp.map(({ biases }) => biases.length)).toEqual(name.startsWith("Llama") ? [2, 2] : [0, 0]);
    }
  });

  test("other matrices are refused: what they are, what they need, and in which dtype they fit", () => {
    const planning = (name: string, dtype: Dtype, bindableBytes: number) => () =>
      planWeights(modelOf(name), as(dtype), bindableBytes);
    const mistral = "Mistral-7B-Instruct-v0.3";
    expect(planning(mistral, "f32", BINDABLE)).toThrow(GpuError);
    expect(planning(mistral, "f32", BINDABLE)).toThrow(
      "weights/model.layers.0.mlp.down_proj.weight: it needs 234881024 bytes in f32 and this device binds at most " +
        "134217728: in f16 it fits",
    );
    expect(planning(mistral, "f32", 96 * MIB - 1)).toThrow(
      /q_proj\.weight \+ .*k_proj\.weight \+ .*v_proj\.weight: it needs 100663296 bytes in f32 .*: in f16 it fits$/,
    );
    expect(planning(mistral, "f16", 56 * MIB)).toThrow(/down_proj\.weight: .* in f16 .*: in q8 it fits$/);
    expect(planning(mistral, "q4", 4 * MIB)).toThrow(/in q4.* and this device binds at most 4194304$/);
    expect(planning(mistral, "f16", BINDABLE)).not.toThrow();
    expect(planning(mistral, "f32", 234881024)).not.toThrow();
  });
});

describe("block codes as the file has them", () => {
  const types = (changes: Readonly<Record<string, SourceType>>) => (name: string) =>
    Object.entries(changes).find(([part]) => name.includes(part))?.[1] ?? "Q4_K";
  const formats = (matrices: readonly MatrixPlan[]) => matrices.map(({ format }) => formatName(format));
  const exact = (type: SourceType) => formatName(SOURCE_LAYOUTS[type].exact);

  test("neighbours of one format are one matrix", () => {
    const planned = (changes: Readonly<Record<string, SourceType>>) =>
      planWeights(modelOf("Qwen2.5-0.5B-Instruct", {}, types(changes)), STORED, BINDABLE).layers[0]!.qkv;
    expect(formats(planned({}))).toEqual([exact("Q4_K")]);
    const valueApart = planned({ v_proj: "Q6_K" });
    expect(formats(valueApart)).toEqual([exact("Q4_K"), exact("Q6_K")]);
    expect(runs(valueApart)).toEqual([
      [0, 1024],
      [1024, 128],
    ]);
    expect(short(valueApart[1]!.biases)).toEqual([
      ["self_attn.v_proj.bias", { firstRow: 0, rows: 128, firstColumn: 0 }],
    ]);
    const keyApart = planned({ k_proj: "Q8_0" });
    expect(formats(keyApart)).toEqual([exact("Q4_K"), exact("Q8_0"), exact("Q4_K")]);
    expect(runs(keyApart)).toEqual([
      [0, 896],
      [896, 128],
      [1024, 128],
    ]);
    expect(formats(planned({ k_proj: "F32" })), "floats are held in the dtype").toEqual([
      exact("Q4_K"),
      "f16",
      exact("Q4_K"),
    ]);
  });

  test("gate and up of two formats are two products, each as the file has it", () => {
    const planned = (up: SourceType) =>
      planWeights(modelOf("Llama-3.2-1B", {}, types({ up_proj: up })), STORED, BINDABLE).layers[0]!;
    expect(formats(planned("Q4_K").gateUp)).toEqual([exact("Q4_K")]);
    expect(planned("Q4_K").ungated).toEqual([]);
    expect(planned("Q6_K").gateUp).toEqual([]);
    expect(formats(planned("Q6_K").ungated)).toEqual([exact("Q4_K"), exact("Q6_K")]);
    expect(planned("Q6_K").ungated.map(({ firstColumn, columns }) => [firstColumn, columns])).toEqual([
      [0, 8192],
      [8192, 8192],
    ]);
  });

  test("formats of embedding and head, each once", () => {
    const of = (name: string, holding: Holding, changes: Readonly<Record<string, SourceType>> = {}) =>
      headFormats(planWeights(modelOf(name, {}, types(changes)), holding, NO_LIMIT)).map(formatName);
    expect(of("Mistral-7B-Instruct-v0.3", as("q4"))).toEqual(["q8/32 symmetric f16"]);
    expect(of("Mistral-7B-Instruct-v0.3", STORED)).toEqual([exact("Q4_K")]);
    expect(of("Mistral-7B-Instruct-v0.3", STORED, { lm_head: "Q6_K" })).toEqual([exact("Q4_K"), exact("Q6_K")]);
    expect(of("Llama-3.2-1B", STORED, { embed_tokens: "Q8_0" })).toEqual([exact("Q8_0")]);
  });

  test("conversions are each named once, those of block codes too", () => {
    const of = (name: string, holding: Holding, typeOf: (name: string) => SourceType) => {
      const model = modelOf(name, {}, typeOf);
      const plan = planWeights(model, holding, NO_LIMIT);
      return conversionsOf(plan, model).map(({ type, format }) => `${type} to ${formatName(format)}`);
    };
    expect(of("Phi-4-mini-instruct", as("f16"), () => "BF16")).toEqual(["BF16 to f16"]);
    expect(of("Phi-4-mini-instruct", as("q4"), types({ embed: "F16", qkv: "F32", gate_up: "BF16" }))).toEqual([
      "F16 to q8/32 symmetric f16",
      "F32 to q4/32 symmetric f16",
      "Q4_K to q4/32 symmetric f16",
      "BF16 to q4/32 symmetric f16",
    ]);
    expect(of("Llama-3.2-1B", STORED, types({ v_proj: "F32" }))).toEqual(["Q4_K to q4/32 minimum f32", "F32 to f16"]);
  });
});

describe("what a plan takes", () => {
  const MISTRAL = { name: "Mistral-7B-Instruct-v0.3", parameters: 7_248_023_552, norms: 65 * 4096 };

  test("all parameters in their format, norms in f32", () => {
    const bytes = (dtype: Dtype) => plannedBytes(planWeights(modelOf(MISTRAL.name), as(dtype), NO_LIMIT));
    const { parameters, norms } = MISTRAL;
    const embeddings = 2 * 32768 * 4096;
    const blocks = (count: number, bits: number) => (count / 32) * (2 + (32 * bits) / 8);
    expect(bytes("f32")).toBe(4 * parameters);
    expect(bytes("f16")).toBe(2 * (parameters - norms) + 4 * norms);
    expect(bytes("q8")).toBe(blocks(parameters - norms, 8) + 4 * norms);
    expect(bytes("q4")).toBe(blocks(parameters - norms - embeddings, 4) + blocks(embeddings, 8) + 4 * norms);
  });

  test("being cut costs nothing", () => {
    const bytes = (bindableBytes: number) =>
      plannedBytes(planWeights(modelOf("Phi-4-mini-instruct"), as("q8"), bindableBytes));
    expect(bytes(BINDABLE)).toBe(bytes(NO_LIMIT));
  });

  test("biases stand behind the scales, which begin with a word where a format has none", () => {
    const qkv = (dtype: Dtype, name: string) => planWeights(modelOf(name), as(dtype), BINDABLE).layers[0]!.qkv[0]!;
    expect(scalesBytes(qkv("f32", "Qwen2.5-0.5B-Instruct"))).toBe(4 + 1152 * 4);
    expect(scalesBytes(qkv("q8", "Qwen2.5-0.5B-Instruct"))).toBe((896 / 32) * 1152 * 2 + 1152 * 4);
    expect(scalesBytes(qkv("q8", "Llama-3.2-1B"))).toBe((2048 / 32) * 3072 * 2);
  });

  test("matrices and norms are all there, in the layers' order", () => {
    const planned = (name: string) => planWeights(modelOf(name), as("q4"), NO_LIMIT);
    const gemma = planned("gemma-3-1b-it");
    expect(matricesOf(gemma)).toHaveLength(1 + 26 * 4);
    expect(normsOf(gemma)).toHaveLength(26 * 6 + 1);
    expect(matricesOf(planned(MISTRAL.name))).toHaveLength(2 + 32 * 4);
    const olmo = normsOf(planned("OLMo-2-0425-1B")).map(({ name }) => name);
    expect(olmo.slice(-3)).toEqual([
      "model.layers.15.post_attention_layernorm.weight",
      "model.layers.15.post_feedforward_layernorm.weight",
      "model.norm.weight",
    ]);
  });
});
