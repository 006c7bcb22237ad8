import { describe, expect, test } from "vitest";
import { FileFormatError, UnsupportedModelError } from "../../src/errors.ts";
import { readModelSpec } from "../../src/model/config.ts";
import type { RopeSpec } from "../../src/model/spec.ts";
import { type Json, LLAMA, readJson, STORIES } from "../weights/model_folder.ts";

const FILE = "m/config.json";
const CONFIG = readJson(STORIES, "config.json");

function read(changes: Json, generationConfig?: unknown) {
  return readModelSpec({ ...CONFIG, ...changes }, generationConfig, FILE);
}

/** The rotations of the first layer. */
function rope(changes: Json): RopeSpec {
  return read(changes).spec.attention[0]!.rope!;
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
      activation: "silu",
      norms: "before",
      normsAddOne: false,
      attention: Array.from({ length: 5 }, () => ({
        rope: { ropeTheta: 10000, rotaryDim: 8, scaling: { type: "default" } },
      })),
      attentionScale: 8 ** -0.5,
      embeddingScale: 1,
      residualScale: 1,
      logitScale: 1,
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
    expect(spec).toMatchObject({ rmsNormEps: 1e-6, headDim: 16, eosTokenIds: [2] });
    expect(spec.attention[3]!.rope!.ropeTheta).toBe(10000);
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
      activation: "silu",
      tieWordEmbeddings: false,
    });
    expect(spec.attention[0]!.rope).toEqual({ ropeTheta: 10000, rotaryDim: 8, scaling: { type: "default" } });
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
    expect(rope({ rope_theta: 5e5 }).ropeTheta).toBe(5e5);
    const rope_parameters = { rope_theta: 1e6, rope_type: "default" };
    expect(rope({ rope_theta: undefined, rope_parameters }).ropeTheta).toBe(1e6);
    expect(rope({ rope_theta: 5e5, rope_parameters }).ropeTheta).toBe(1e6);
    expect(rope({ rope_theta: 5e5, rope_parameters: { rope_type: "default" } }).ropeTheta).toBe(5e5);
  });

  test("scaling is read in both spellings, its type by either name", () => {
    const linear = { type: "linear", factor: 2 };
    for (const rope_scaling of [{ rope_type: "linear", factor: 2 }, linear, { factor: 2 }]) {
      expect(rope({ rope_scaling }).scaling).toEqual(linear);
      expect(rope({ rope_parameters: rope_scaling }).scaling).toEqual(linear);
    }
    expect(rope({ rope_scaling: { rope_type: "default" } }).scaling).toEqual({ type: "default" });
    expect(rope({ rope_scaling: {} }).scaling).toEqual({ type: "default" });
  });

  test("defaults of the scalings are those of transformers", () => {
    const max = 512;
    expect(rope({ rope_scaling: { rope_type: "dynamic", factor: 2 } }).scaling).toEqual({
      type: "dynamic",
      factor: 2,
      originalMaxPositionEmbeddings: max,
    });
    const yarn = { rope_type: "yarn", factor: 4 };
    expect(rope({ rope_scaling: yarn }).scaling).toEqual({
      type: "yarn",
      factor: 4,
      originalMaxPositionEmbeddings: max,
      betaFast: 32,
      betaSlow: 1,
      attentionFactor: 0.1 * Math.log(4) + 1,
      truncate: true,
    });
    const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    expect(rope({ rope_scaling: llama3 }).scaling).toMatchObject({ originalMaxPositionEmbeddings: max });
  });

  test("the original context stands with the scaling or beside it; dynamic knows but the longest one", () => {
    const original_max_position_embeddings = 64;
    for (const type of ["yarn", "llama3"]) {
      const scaling = { type, factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
      const nested = { rope_scaling: { ...scaling, original_max_position_embeddings } };
      for (const changes of [nested, { rope_scaling: scaling, original_max_position_embeddings }]) {
        expect(rope(changes).scaling).toMatchObject({ originalMaxPositionEmbeddings: 64 });
      }
    }
    const dynamic = { type: "dynamic", factor: 2, original_max_position_embeddings };
    expect(rope({ rope_scaling: dynamic }).scaling).toMatchObject({ originalMaxPositionEmbeddings: 512 });
  });

  test("yarn's attention factor is given, or of mscale and mscale_all_dim, or of the factor", () => {
    const factorOf = (settings: Json) => {
      const { scaling } = rope({ rope_scaling: { type: "yarn", factor: Math.exp(10), ...settings } });
      return scaling.type === "yarn" ? scaling.attentionFactor : Number.NaN;
    };
    expect(factorOf({})).toBeCloseTo(2, 14);
    expect(factorOf({ mscale: 2 })).toBeCloseTo(2, 14);
    expect(factorOf({ mscale: 3, mscale_all_dim: 1 })).toBeCloseTo(2, 14);
    expect(factorOf({ mscale: 3, mscale_all_dim: 1, attention_factor: 1.5 })).toBe(1.5);
    expect(factorOf({ factor: 0.5 })).toBe(1);
  });

  test("yarn and dynamic make a context longer, other scalings were trained with it", () => {
    const longest = (rope_scaling: Json) => read({ rope_scaling }).spec.maxPositionEmbeddings;
    expect(longest({ type: "yarn", factor: 4 })).toBe(2048);
    expect(longest({ type: "yarn", factor: 4, original_max_position_embeddings: 128 })).toBe(512);
    expect(longest({ type: "yarn", factor: 2, original_max_position_embeddings: 64 })).toBe(512);
    expect(longest({ type: "dynamic", factor: 2.5 })).toBe(1280);
    expect(longest({ type: "linear", factor: 4 })).toBe(512);
  });

  test("a part of each head is rotated: named beside the other settings or among RoPE's", () => {
    expect(rope({ head_dim: 16, partial_rotary_factor: 0.5 }).rotaryDim).toBe(8);
    expect(rope({ head_dim: 16, rope_parameters: { partial_rotary_factor: 0.75 } }).rotaryDim).toBe(12);
    const order = { headDim: 16, rotaryDim: 8, interleaved: false };
    const { query, key, value } = read({ head_dim: 16, partial_rotary_factor: 0.5 }).tensors.layers[0]!;
    expect([query.headOrder, key.headOrder, value.headOrder]).toEqual([order, order, undefined]);
  });

  test("biases are where the settings say, and nowhere else", () => {
    const biases = (changes: Json) =>
      Object.values(read(changes).tensors.layers[2]!)
        .map(({ name, shape }) => `${name.replace("model.layers.2.", "")} ${shape}`)
        .filter((name) => name.includes("bias"));
    const attention = [
      "self_attn.q_proj.bias 64",
      "self_attn.k_proj.bias 32",
      "self_attn.v_proj.bias 32",
      "self_attn.o_proj.bias 64",
    ];
    const mlp = ["mlp.gate_proj.bias 172", "mlp.up_proj.bias 172", "mlp.down_proj.bias 64"];
    expect(biases({})).toEqual([]);
    expect(biases({ attention_bias: true })).toEqual(attention);
    expect(biases({ mlp_bias: true })).toEqual(mlp);
    expect(biases({ attention_bias: true, mlp_bias: true })).toEqual([...attention, ...mlp]);
  });

  test("activations have several names", () => {
    for (const hidden_act of ["silu", "swish"]) expect(read({ hidden_act }).spec.activation).toBe("silu");
    expect(read({ hidden_act: "gelu_pytorch_tanh" }).spec.activation).toBe("gelu_tanh");
    expect(read({ hidden_act: "gelu", hidden_activation: "gelu_pytorch_tanh" }).spec.activation).toBe("gelu_tanh");
  });

  test("a container may order pairs and store norms in its own way", () => {
    const gemma = { ...CONFIG, model_type: "gemma2" };
    expect(readModelSpec(gemma, undefined, FILE).spec.normsAddOne).toBe(true);
    expect(readModelSpec(gemma, undefined, FILE, undefined, { normsIncludeOne: true }).spec.normsAddOne).toBe(false);
    const { tensors } = readModelSpec(CONFIG, undefined, FILE, undefined, { interleavedRotary: true });
    const order = { headDim: 8, rotaryDim: 8, interleaved: true };
    expect([tensors.layers[0]!.query.headOrder, tensors.layers[4]!.key.headOrder]).toEqual([order, order]);
    expect(tensors.layers[0]!.value).not.toHaveProperty("headOrder");
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
    ["rope_scaling", { rope_scaling: 4 }],
    ["rope_scaling.type", { rope_scaling: { type: 3 } }],
    ["rope_scaling.factor", { rope_scaling: { factor: 0 } }],
    ["rope_scaling.factor", { rope_scaling: { type: "linear" } }],
    ["rope_scaling.factor", { rope_scaling: { type: "dynamic" } }],
    ["rope_scaling.factor", { rope_scaling: { type: "yarn" } }],
    ["rope_scaling.beta_fast", { rope_scaling: { type: "yarn", factor: 2, beta_fast: "32" } }],
    ["rope_scaling.truncate", { rope_scaling: { type: "yarn", factor: 2, truncate: 1 } }],
    ["rope_scaling.low_freq_factor", { rope_scaling: { rope_type: "llama3", factor: 8 } }],
    ["rope_scaling.high_freq_factor", { rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1 } }],
    ["rope_scaling.short_factor", { rope_scaling: { type: "longrope" } }],
    ["rope_scaling.short_factor", { rope_scaling: { type: "su", short_factor: [1, 1, 1] } }],
    ["rope_scaling.short_factor", { rope_scaling: { type: "longrope", short_factor: [1, 1, 1, 0] } }],
    ["rope_scaling.long_factor", { rope_scaling: { type: "longrope", short_factor: [1, 1, 1, 1], long_factor: 2 } }],
    ["partial_rotary_factor", { partial_rotary_factor: 1.25 }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.4 }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.1 }],
    ["rope_parameters.partial_rotary_factor", { rope_parameters: { partial_rotary_factor: 0 } }],
    ["layer_types", { layer_types: "full_attention" }],
    ["layer_types", { layer_types: Array.from({ length: 4 }, () => "full_attention") }],
    ["sliding_window", { layer_types: Array.from({ length: 5 }, () => "sliding_attention") }],
    ["sliding_window", { model_type: "mistral", sliding_window: 0 }],
    ["no_rope_layer_interval", { model_type: "smollm3", no_rope_layer_interval: 0 }],
    ["query_pre_attn_scalar", { model_type: "gemma2", query_pre_attn_scalar: null }],
    ["final_logit_softcapping", { model_type: "gemma2", final_logit_softcapping: "30" }],
    ["use_bidirectional_attention", { model_type: "gemma2", use_bidirectional_attention: "no" }],
    ["logits_scaling", { model_type: "granite", logits_scaling: 0 }],
    ["tie_word_embeddings", { tie_word_embeddings: "yes" }],
    ["attention_bias", { attention_bias: "no" }],
    ["mlp_bias", { mlp_bias: 1 }],
    ["hidden_act", { hidden_act: 1 }],
    ["hidden_activation", { hidden_activation: 1 }],
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
    ["model_type", { model_type: "mixtral" }],
    ["hidden_size", { hidden_size: 66 }],
    ["intermediate_size", { intermediate_size: 174 }],
    ["head_dim", { head_dim: 10 }],
    ["head_dim", { head_dim: 264 }],
    ["hidden_size", { head_dim: undefined, num_attention_heads: 32, num_key_value_heads: 32 }],
    ["hidden_act", { hidden_act: "gelu" }],
    ["hidden_act", { hidden_act: "toString" }],
    ["hidden_activation", { hidden_activation: "relu" }],
    ["quantization_config", { quantization_config: { quant_method: "gptq" } }],
    ["rope_scaling.rope_type", { rope_scaling: { rope_type: "ntk", factor: 8 } }],
    ["rope_scaling.type", { rope_scaling: { type: "mrope", factor: 2 } }],
    ["rope_parameters.rope_type", { rope_parameters: { rope_type: "proportional", rope_theta: 1e4 } }],
    ["layer_types[1]", { layer_types: ["full_attention", "chunked_attention", "", "", ""] }],
    ["use_bidirectional_attention", { model_type: "gemma3_text", use_bidirectional_attention: true }],
  ];
  test.each(cases)("%s of %j is named as unsupported", (field, changes) => {
    const reading = () => read(changes);
    expect(reading).toThrow(UnsupportedModelError);
    expect(reading).toThrow(expect.objectContaining({ code: "unsupported-model", file: FILE, field }));
  });

  test("the end of a text is said by the whole, by its text part, or by both", () => {
    const eos = (whole: unknown, part: unknown) => {
      const text_config = { ...CONFIG, model_type: "gemma3_text", eos_token_id: part };
      const config = { model_type: "gemma3", eos_token_id: whole, text_config };
      return readModelSpec(config, undefined, FILE).spec.eosTokenIds;
    };
    expect(eos([1, 6], null)).toEqual([1, 6]);
    expect(eos([1, 6], 1)).toEqual([1, 6]);
    expect(eos(undefined, 3)).toEqual([3]);
  });

  test("an unknown architecture: the message lists the known ones, and the settings that none of them has", () => {
    const known = "one of llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3, smollm3, olmo2, granite, gemma3";
    const expectation = (found: string) => expect.objectContaining({ field: "model_type", found, expected: known });
    expect(() => read({ model_type: "mamba", ssm_cfg: null, d_state: 16 })).toThrow(
      expectation('"mamba" with settings that no known family has (ssm_cfg, d_state)'),
    );
    expect(() => read({ model_type: "llama9" })).toThrow(expectation('"llama9"'));
    const many = Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`${i}`.padStart(60, "x"), i]));
    expect(() => read({ model_type: "mamba", ...many })).toThrow(/\(x{40}, .*x{40}, and 3 more\)/);
  });
});
