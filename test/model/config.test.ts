import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FileFormatError, UnsupportedModelError } from "../../src/errors.ts";
import { readModelSpec } from "../../src/model/config.ts";
import { type Json, LLAMA, readJson, STORIES } from "../weights/model_folder.ts";

const FILE = "m/config.json";
const CONFIG = readJson(STORIES, "config.json");

function read(changes: Json, generationConfig?: unknown) {
  return readModelSpec({ ...CONFIG, ...changes }, generationConfig, FILE);
}

function without(...keys: string[]) {
  return Object.fromEntries(keys.map((key) => [key, undefined]));
}

describe("sound configs", () => {
  test("the default model, as transformers 4 spells it", () => {
    const { spec, tensors } = readModelSpec(CONFIG, readJson(STORIES, "generation_config.json"), FILE);
    expect(spec).toEqual({
      family: "llama",
      vocabSize: 512,
      hiddenSize: 64,
      intermediateSize: 172,
      layers: 5,
      heads: 8,
      kvHeads: 4,
      headDim: 8,
      maxPositionEmbeddings: 512,
      rmsNormEps: 1e-5,
      ropeTheta: 10000,
      tieWordEmbeddings: true,
      eosTokenIds: [1],
      layerSkip: { exitLayer: 2, draftLength: 4 },
    });
    expect(tensors.head).toBeUndefined();
    expect(tensors.layers[3]?.key).toEqual({ name: "model.layers.3.self_attn.k_proj.weight", shape: [32, 64] });
    expect(tensors.layers[4]?.down).toEqual({ name: "model.layers.4.mlp.down_proj.weight", shape: [64, 172] });
  });

  test("a head of its own and no LayerSkip recipe, as transformers 5 spells it", () => {
    const { spec, tensors } = readModelSpec(readJson(LLAMA, "config.json"), undefined, FILE);
    expect(spec).toMatchObject({ ropeTheta: 10000, rmsNormEps: 1e-6, headDim: 16, eosTokenIds: [2] });
    expect(spec).not.toHaveProperty("layerSkip");
    expect(tensors.head).toEqual({ name: "lm_head.weight", shape: [512, 64] });
  });

  test("defaults are those of transformers", () => {
    const absent = without(
      "num_key_value_heads",
      "head_dim",
      "rms_norm_eps",
      "rope_theta",
      "rope_scaling",
      "hidden_act",
    );
    const { spec } = read({
      ...absent,
      ...without("attention_bias", "mlp_bias", "tie_word_embeddings", "eos_token_id"),
    });
    expect(spec).toMatchObject({
      kvHeads: 8,
      headDim: 8,
      rmsNormEps: 1e-6,
      ropeTheta: 10000,
      tieWordEmbeddings: false,
    });
    expect(spec.eosTokenIds).toEqual([]);
  });

  test("null means absent", () => {
    expect(
      read({ head_dim: null, num_key_value_heads: null, layerskip: null, rope_parameters: null }).spec,
    ).toMatchObject({
      headDim: 8,
      kvHeads: 8,
    });
  });

  test("rope_theta is read in both spellings, the newer one first", () => {
    expect(read({ rope_theta: 5e5 }).spec.ropeTheta).toBe(5e5);
    const rope_parameters = { rope_theta: 1e6, rope_type: "default" };
    expect(read({ rope_theta: undefined, rope_parameters }).spec.ropeTheta).toBe(1e6);
    expect(read({ rope_theta: 5e5, rope_parameters }).spec.ropeTheta).toBe(1e6);
    expect(read({ rope_theta: 5e5, rope_parameters: { rope_type: "default" } }).spec.ropeTheta).toBe(5e5);
  });

  test("end-of-text ids of both files are merged without repeats", () => {
    expect(read({ eos_token_id: [2, 7] }, { eos_token_id: [7, 0] }).spec.eosTokenIds).toEqual([2, 7, 0]);
    expect(read({ eos_token_id: null }, { eos_token_id: 5 }).spec.eosTokenIds).toEqual([5]);
    expect(read({ eos_token_id: 3 }, {}).spec.eosTokenIds).toEqual([3]);
  });

  test("head_dim need not be hidden size / heads", () => {
    expect(read({ head_dim: 32 }).tensors.layers[0]?.output.shape).toEqual([64, 256]);
  });
});

describe("damaged configs", () => {
  const cases: [string, Json, string?][] = [
    ...["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"].flatMap(
      (key): [string, Json][] => [undefined, null, 0, -4, 4.5, "64", 2 ** 53].map((value) => [key, { [key]: value }]),
    ),
    ["max_position_embeddings", { max_position_embeddings: 0 }],
    ["model_type", { model_type: undefined }],
    ["model_type", { model_type: 3 }],
    ["num_key_value_heads", { num_key_value_heads: 3 }],
    ["num_key_value_heads", { num_key_value_heads: 16 }],
    ["hidden_size", { head_dim: undefined, num_attention_heads: 6, num_key_value_heads: 6 }],
    ["rms_norm_eps", { rms_norm_eps: 0 }],
    ["rms_norm_eps", { rms_norm_eps: "1e-5" }],
    ["rope_theta", { rope_theta: -1 }],
    ["rope_parameters.rope_theta", { rope_parameters: { rope_theta: "big" } }],
    ["rope_parameters", { rope_parameters: 4 }],
    ["rope_scaling.type", { rope_scaling: { type: 3 } }],
    ["tie_word_embeddings", { tie_word_embeddings: "yes" }],
    ["attention_bias", { attention_bias: "no" }],
    ["hidden_act", { hidden_act: 1 }],
    ["eos_token_id", { eos_token_id: 512 }],
    ["eos_token_id", { eos_token_id: [1, -1] }],
    ["eos_token_id", { eos_token_id: "</s>" }],
    ["layerskip", { layerskip: 2 }],
    ["layerskip.exit_layer", { layerskip: { num_speculations: 4 } }],
    ["layerskip.exit_layer", { layerskip: { exit_layer: 5, num_speculations: 4 } }],
    ["layerskip.exit_layer", { layerskip: { exit_layer: 0, num_speculations: 4 } }],
    ["layerskip.num_speculations", { layerskip: { exit_layer: 2, num_speculations: 0 } }],
  ];
  test.each(cases)("%s of %j is named as damaged", (field, changes) => {
    const reading = () => read(changes);
    expect(reading).toThrow(FileFormatError);
    expect(reading).toThrow(expect.objectContaining({ code: "file-format", file: FILE, field }));
  });

  test("a config that is no object is named", () => {
    for (const config of [[], null, 3, "x"]) {
      expect(() => readModelSpec(config, undefined, FILE)).toThrow(
        expect.objectContaining({ file: FILE, field: "JSON" }),
      );
    }
    expect(() => read({}, [])).toThrow(expect.objectContaining({ file: "generation_config.json", field: "JSON" }));
  });
});

describe("models that are not supported", () => {
  const cases: [string, Json][] = [
    ["model_type", { model_type: "qwen3" }],
    ["hidden_size", { hidden_size: 66 }],
    ["intermediate_size", { intermediate_size: 174 }],
    ["head_dim", { head_dim: 10 }],
    ["hidden_size", { head_dim: undefined, num_attention_heads: 32, num_key_value_heads: 32 }],
    ["attention_bias", { attention_bias: true }],
    ["mlp_bias", { mlp_bias: true }],
    ["hidden_act", { hidden_act: "gelu" }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    ["quantization_config", { quantization_config: { quant_method: "gptq" } }],
    ["rope_scaling.rope_type", { rope_scaling: { rope_type: "llama3", factor: 8 } }],
    ["rope_scaling.type", { rope_scaling: { type: "linear", factor: 2 } }],
    ["rope_scaling.factor", { rope_scaling: { factor: 2 } }],
    ["rope_parameters.rope_type", { rope_parameters: { rope_type: "yarn", rope_theta: 1e4 } }],
    ["rope_parameters.partial_rotary_factor", { rope_parameters: { partial_rotary_factor: 0.5 } }],
  ];
  test.each(cases)("%s of %j is named as unsupported", (field, changes) => {
    const reading = () => read(changes);
    expect(reading).toThrow(UnsupportedModelError);
    expect(reading).toThrow(expect.objectContaining({ code: "unsupported-model", file: FILE, field }));
  });

  test("an unknown architecture: the message lists the known ones", () => {
    expect(() => read({ model_type: "mamba" })).toThrow(/model_type: found "mamba", expected llama/);
  });

  test("a family that is known elsewhere is not taken for llama", () => {
    const config = readJson(join(STORIES, "../../test/assets/families/llama"), "config.json");
    expect(() => readModelSpec({ ...config, model_type: "mistral" }, undefined, FILE)).toThrow(UnsupportedModelError);
  });
});
