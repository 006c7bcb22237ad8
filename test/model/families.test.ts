/**
 * What the families make of `config.json`: the tiny checkpoints' tensors, both spellings of the settings, and the published
 * configs of `configs/` (with the numbers of parameters their weight files hold).
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readModelSpec } from "../../src/model/config.ts";
import type { LayerAttention, ModelSpec, ModelTensors, TensorSpec } from "../../src/model/spec.ts";
import { type Json, readJson, takeApart } from "../weights/model_folder.ts";

const FOLDER = join(import.meta.dirname, "../assets/families");
const FOLDERS = readdirSync(FOLDER);
const CONFIGS = join(import.meta.dirname, "configs");

function read(config: Json) {
  return readModelSpec(config, undefined, "m/config.json");
}

function configOf(folder: string): Json {
  return readJson(join(FOLDER, folder), "config.json");
}

function without(config: Json, ...keys: string[]): Json {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !keys.includes(key)));
}

function allTensors({ embedding, layers, finalNorm, head }: ModelTensors): TensorSpec[] {
  return [embedding, ...layers.flatMap((layer) => Object.values(layer)), finalNorm, ...(head ? [head] : [])];
}

/** The layers with a window, with RoPE, as one letter each: f(ull), s(liding); in capitals without RoPE. */
function pattern({ attention }: ModelSpec): string {
  return attention
    .map(({ window, rope }) => {
      const letter = window === undefined ? "f" : "s";
      return rope ? letter : letter.toUpperCase();
    })
    .join("");
}

describe.each(FOLDERS)("families/%s", (folder) => {
  const config = configOf(folder);
  const { spec, tensors } = read(config);

  test("every tensor of the checkpoint is named, with its shape, and no other", () => {
    const path = join(FOLDER, folder);
    const stored = readdirSync(path)
      .filter((file) => file.endsWith(".safetensors"))
      .flatMap((file) => Object.entries(takeApart(join(path, file)).header))
      .filter(([name]) => name !== "__metadata__")
      .map(([name, { shape }]) => [name, shape]);
    const named = new Map(allTensors(tensors).map(({ name, shape }) => [name, shape]));
    expect(Object.fromEntries(named)).toEqual(Object.fromEntries(stored));
  });

  test("slices cover a tensor, one after the other; what is no slice is named once", () => {
    const uses = new Map<string, TensorSpec[]>();
    for (const tensor of allTensors(tensors)) uses.set(tensor.name, [...(uses.get(tensor.name) ?? []), tensor]);
    for (const all of uses.values()) {
      if (all.length === 1 && !all[0]!.slice) continue;
      let row = 0;
      for (const { slice, shape } of all) {
        expect(slice!.firstRow).toBe(row);
        expect(shape).toEqual(all[0]!.shape);
        row += slice!.rows;
      }
      expect(row).toBe(all[0]!.shape[0]);
    }
  });

  test("it is what the other spelling says", () => {
    const [four, five] = [asFour(config), asFive(config)];
    expect(four).not.toHaveProperty("rope_parameters");
    expect(five).not.toHaveProperty("rope_theta");
    for (const other of [four, five, asFive(four), asFour(five)]) expect(read(other)).toEqual({ spec, tensors });
  });

  test("layers' types as a list and as a period are the same", () => {
    const listed = spec.attention.map(({ window }) => (window ? "sliding_attention" : "full_attention"));
    expect(read({ ...config, layer_types: listed }).spec).toEqual(spec);
    expect(read(without(config, "layer_types")).spec).toEqual(spec);
  });
});

/** As transformers 4 writes it: RoPE's settings on top, types of layers by a period. */
function asFour(config: Json): Json {
  const parameters = config.rope_parameters as Json | undefined;
  if (!parameters) return config;
  const { full_attention: full = parameters, sliding_attention: sliding } = parameters as Record<string, Json>;
  const { rope_theta, partial_rotary_factor, ...rope_scaling } = full as Json;
  return {
    ...without(config, "rope_parameters", "dtype", "layer_types", "_sliding_window_pattern"),
    torch_dtype: config.dtype,
    rope_theta,
    rope_scaling: rope_scaling.rope_type === "default" ? null : rope_scaling,
    ...(partial_rotary_factor !== undefined && { partial_rotary_factor }),
    ...(sliding && { rope_local_base_freq: sliding.rope_theta }),
    ...("_sliding_window_pattern" in config && { sliding_window_pattern: config._sliding_window_pattern }),
  };
}

/** As transformers 5 writes it: RoPE's settings in an object, of each type of layer where they differ. */
function asFive(config: Json): Json {
  if (config.rope_parameters) return config;
  const { rope_theta, rope_scaling, rope_local_base_freq, torch_dtype, ...rest } = config;
  const full = { rope_type: "default", rope_theta, ...(rope_scaling as Json | null) };
  const sliding = { rope_type: "default", rope_theta: rope_local_base_freq };
  return {
    ...rest,
    dtype: torch_dtype,
    rope_parameters: rope_local_base_freq ? { full_attention: full, sliding_attention: sliding } : full,
  };
}

describe("settings that are null, and those that are absent", () => {
  const windows = (config: Json) => read(config).spec.attention.map(({ window }) => window);
  const four = <T>(value: T) => Array.from({ length: 4 }, () => value);

  test("Mistral's sliding_window: null is none, absent is 4096", () => {
    const config = configOf("mistral-window");
    expect(windows(config)).toEqual(four(24));
    expect(windows({ ...config, sliding_window: null })).toEqual(four(undefined));
    expect(windows(without(config, "sliding_window"))).toEqual(four(4096));
  });

  test("key-value heads: null is one a head, absent is what the family has", () => {
    const kvHeads = (folder: string, changes: Json) =>
      read({ ...without(configOf(folder), "num_key_value_heads"), num_attention_heads: 32, head_dim: 8, ...changes })
        .spec.kvHeads;
    const absent = {
      llama: 32,
      "mistral-window": 8,
      qwen2: 32,
      gemma2: 4,
      gemma3: 4,
      phi3: 32,
      smollm3: 4,
      granite: 32,
    };
    for (const [folder, expected] of Object.entries(absent)) {
      expect([folder, kvHeads(folder, {})]).toEqual([folder, expected]);
      expect(kvHeads(folder, { num_key_value_heads: null })).toBe(32);
    }
  });

  test("soft caps: null is none, absent is 50 and 30 in Gemma 2 and none in Gemma 3", () => {
    const caps = (folder: string, config: Json) => {
      const { attentionSoftCap, logitSoftCap } = read({ ...configOf(folder), ...config }).spec;
      return [attentionSoftCap, logitSoftCap];
    };
    const keys = ["attn_logit_softcapping", "final_logit_softcapping"];
    const none = Object.fromEntries(keys.map((key) => [key, null]));
    expect(caps("gemma2", none)).toEqual([undefined, undefined]);
    expect(caps("gemma3", { attn_logit_softcapping: 7 })).toEqual([7, undefined]);
    const { spec } = read(without(configOf("gemma2"), ...keys));
    expect([spec.attentionSoftCap, spec.logitSoftCap]).toEqual([50, 30]);
  });

  test("other settings that are absent are what transformers takes", () => {
    const absent = (folder: string, ...keys: string[]) => read(without(configOf(folder), ...keys)).spec;
    const theta = (spec: ModelSpec) => spec.attention[0]!.rope!.ropeTheta;
    for (const folder of FOLDERS) {
      const tied = folder.startsWith("gemma") || folder === "smollm3";
      const eps = folder === "phi3" || folder === "olmo2" ? 1e-5 : 1e-6;
      const spec = absent(folder, "tie_word_embeddings", "rms_norm_eps", "hidden_act", "hidden_activation");
      const activation = folder.startsWith("gemma") ? "gelu_tanh" : "silu";
      expect(spec).toMatchObject({ tieWordEmbeddings: tied, rmsNormEps: eps, activation });
    }
    const rope = ["rope_theta", "rope_scaling", "rope_parameters", "rope_local_base_freq"];
    for (const folder of FOLDERS) {
      expect(theta(absent(folder, ...rope)), folder).toBe(folder === "smollm3" ? 2e6 : 1e4);
    }
    expect(absent("gemma3", ...rope).attention[5]!.rope!.ropeTheta).toBe(1e6);
    expect(absent("qwen3", "head_dim").headDim).toBe(128);
    expect(absent("gemma2", "head_dim", "query_pre_attn_scalar")).toMatchObject({
      headDim: 256,
      attentionScale: 1 / 16,
    });
    const { embedding_multiplier, attention_multiplier, residual_multiplier, logits_scaling, ...granite } =
      configOf("granite");
    const ones = { embeddingScale: 1, attentionScale: 1, residualScale: 1, logitScale: 1 };
    expect(read(granite).spec).toMatchObject(ones);
  });
});

describe("patterns of layers", () => {
  const patternOf = (folder: string, changes: Json) =>
    pattern(read({ ...without(configOf(folder), "layer_types"), num_hidden_layers: 8, ...changes }).spec);

  test("Gemma 2: every second layer has a window, the first one does", () => {
    expect(patternOf("gemma2", {})).toBe("sfsfsfsf");
    expect(patternOf("gemma2", { sliding_window: null })).toBe("ffffffff");
  });

  test("Gemma 3: all but every sixth, or as either name of the period says", () => {
    const config = without(configOf("gemma3"), "layer_types", "_sliding_window_pattern");
    const of = (changes: Json) => pattern(read({ ...config, num_hidden_layers: 8, ...changes }).spec);
    expect(of({})).toBe("sssssfss");
    expect(of({ sliding_window_pattern: 3 })).toBe("ssfssfss");
    expect(of({ _sliding_window_pattern: 2 })).toBe("sfsfsfsf");
    expect(of({ sliding_window_pattern: 4, _sliding_window_pattern: 2 })).toBe("sssfsssf");
    expect(of({ sliding_window_pattern: 1 })).toBe("ffffffff");
  });

  test("Gemma 3: layers with a window rotate by a base of their own, without the scaling", () => {
    const { attention } = read(configOf("gemma3")).spec;
    const local = { ropeTheta: 1e4, rotaryDim: 32, scaling: { type: "default" } };
    const full = { ropeTheta: 1e6, rotaryDim: 32, scaling: { type: "linear", factor: 8 } };
    expect(attention[0]).toEqual({ window: 24, rope: local });
    expect(attention[5]).toEqual({ rope: full });
    const objects = new Set(attention.map(({ rope }) => rope));
    expect(objects.size, "equal rotations share an object").toBe(2);
    const rope_parameters = { full_attention: { rope_theta: 5e5 }, sliding_attention: { rope_type: "default" } };
    const other = read({ ...configOf("gemma3"), rope_parameters, rope_local_base_freq: 3e4 }).spec.attention;
    expect([other[5]!.rope!.ropeTheta, other[0]!.rope!.ropeTheta]).toEqual([5e5, 3e4]);
  });

  test("Qwen: layers from max_window_layers on, where windows are used", () => {
    for (const folder of ["qwen2", "qwen3"]) {
      const use = { use_sliding_window: true, sliding_window: 100 };
      expect(patternOf(folder, { sliding_window: 100 })).toBe("ffffffff");
      expect(patternOf(folder, { ...use, max_window_layers: 5 })).toBe("fffffsss");
      expect(patternOf(folder, { ...use, max_window_layers: 0 })).toBe("ssssssss");
      expect(patternOf(folder, { ...use, max_window_layers: 0, sliding_window: null })).toBe("ffffffff");
      const absent = without(configOf(folder), "layer_types", "max_window_layers", "sliding_window");
      const { spec } = read({ ...absent, use_sliding_window: true, num_hidden_layers: 30 });
      expect(pattern(spec)).toBe(`${"f".repeat(28)}ss`);
      expect(spec.attention[29]!.window).toBe(4096);
    }
  });

  test("SmolLM3: layers without RoPE by a list or by a period", () => {
    const config = without(configOf("smollm3"), "no_rope_layers", "no_rope_layer_interval");
    const of = (changes: Json) => patternOf("smollm3", { no_rope_layers: null, ...changes });
    expect(pattern(read({ ...without(config, "layer_types"), num_hidden_layers: 8 }).spec)).toBe("fffFfffF");
    expect(of({ no_rope_layer_interval: 3 })).toBe("ffFffFff");
    expect(of({ no_rope_layers: [0, 1, 1, 0, 1, 1, 1, 1] })).toBe("FffFffff");
    expect(of({ no_rope_layers: [1, 1, 1, 1, 1, 1, 1, 0], no_rope_layer_interval: 2 })).toBe("fffffffF");
    const windows = { use_sliding_window: true, sliding_window: 64 };
    expect(of({ ...windows, no_rope_layer_interval: 4 }), "only those without RoPE slide").toBe("fffSfffS");
    expect(of({ ...windows, use_sliding_window: false })).toBe("fffFfffF");
  });

  test("Phi 3: all layers have the window", () => {
    expect(patternOf("phi3", { sliding_window: 2047 })).toBe("ssssssss");
    expect(patternOf("phi3", {})).toBe("ffffffff");
  });

  test("a list may be longer than the layers there are", () => {
    const layer_types = ["full_attention", "sliding_attention", "full_attention", "chunked_attention"];
    expect(patternOf("gemma2", { layer_types, num_hidden_layers: 3 })).toBe("fsf");
  });
});

describe("Phi 3's LongRoPE", () => {
  const factors = { short_factor: [1, 1, 1, 1, 1, 1, 1, 1], long_factor: [1, 2, 3, 4, 5, 6, 7, 8] };
  const PHI3 = { ...asFour(configOf("phi3")), max_position_embeddings: 131072 };
  const scalingOf = (changes: Json, rope: Json = {}, config: Json = PHI3) => {
    const rope_scaling = { type: "longrope", ...factors, ...rope };
    return read({ ...config, rope_scaling, ...changes }).spec.attention[0]!.rope!.scaling;
  };

  test("its factor and the attention's follow from the contexts, unless they are given", () => {
    const attentionFactor = Math.sqrt(1 + 5 / 12); // ln 32 / ln 4096
    const longrope = { type: "longrope", originalMaxPositionEmbeddings: 4096 };
    const expected = { ...longrope, shortFactor: factors.short_factor, longFactor: factors.long_factor };
    expect(scalingOf({})).toEqual({ ...expected, attentionFactor: expect.closeTo(attentionFactor, 14) });
    expect(scalingOf({}, { type: "su" })).toEqual(scalingOf({}));
    expect(scalingOf({}, {}, without(PHI3, "original_max_position_embeddings"))).toEqual(scalingOf({}));
    expect(scalingOf({ max_position_embeddings: 4096 })).toMatchObject({ attentionFactor: 1 });
    expect(scalingOf({}, { factor: 64 })).toMatchObject({ attentionFactor: expect.closeTo(Math.sqrt(1.5), 14) });
    expect(scalingOf({}, { factor: 64, attention_factor: 1.25 })).toMatchObject({ attentionFactor: 1.25 });
  });

  test("it has a divisor for each pair that is rotated", () => {
    expect(() => scalingOf({ partial_rotary_factor: 0.75 })).toThrow(/short_factor: found .* expected 6 numbers/);
  });
});

describe("published models", () => {
  const FULL: LayerAttention = { rope: { ropeTheta: 1e6, rotaryDim: 128, scaling: { type: "default" } } };
  const plain = (ropeTheta: number, rotaryDim: number) => ({ ropeTheta, rotaryDim, scaling: { type: "default" } });

  /** Of each: parameters, the spec's interesting numbers, the layers' pattern, and the first layer's attention. */
  const models: [string, number, Partial<ModelSpec>, string, unknown][] = [
    [
      "Llama-3.2-1B",
      1_235_814_400,
      {
        layers: 16,
        heads: 32,
        kvHeads: 8,
        headDim: 64,
        rmsNormEps: 1e-5,
        attentionScale: 1 / 8,
        tieWordEmbeddings: true,
      },
      "f".repeat(16),
      {
        rope: {
          ropeTheta: 5e5,
          rotaryDim: 64,
          scaling: {
            type: "llama3",
            factor: 32,
            lowFreqFactor: 1,
            highFreqFactor: 4,
            originalMaxPositionEmbeddings: 8192,
          },
        },
      },
    ],
    [
      "Qwen2.5-0.5B-Instruct",
      494_032_768,
      { heads: 14, kvHeads: 2, headDim: 64, maxPositionEmbeddings: 32768, norms: "before", eosTokenIds: [151645] },
      "f".repeat(24),
      { rope: plain(1e6, 64) },
    ],
    [
      "Qwen3-0.6B",
      596_049_920,
      { heads: 16, headDim: 128, headNorm: "head", maxPositionEmbeddings: 40960, attentionScale: 128 ** -0.5 },
      "f".repeat(28),
      FULL,
    ],
    [
      "gemma-2-2b-it",
      2_614_341_888,
      {
        norms: "both",
        normsAddOne: true,
        activation: "gelu_tanh",
        attentionScale: 1 / 16,
        attentionSoftCap: 50,
        logitSoftCap: 30,
        embeddingScale: 48,
        tieWordEmbeddings: true,
        eosTokenIds: [1, 107],
      },
      "sf".repeat(13),
      { window: 4096, rope: plain(1e4, 256) },
    ],
    [
      "gemma-3-1b-it",
      999_885_952,
      {
        heads: 4,
        kvHeads: 1,
        headDim: 256,
        headNorm: "head",
        norms: "both",
        activation: "gelu_tanh",
        embeddingScale: Math.sqrt(1152),
        tieWordEmbeddings: true,
        maxPositionEmbeddings: 32768,
      },
      `${"sssssf".repeat(4)}ss`,
      { window: 512, rope: plain(1e4, 256) },
    ],
    [
      "Phi-3.5-mini-instruct",
      3_821_079_552,
      { heads: 32, kvHeads: 32, headDim: 96, maxPositionEmbeddings: 131072, tieWordEmbeddings: false },
      "s".repeat(32),
      {
        window: 262144,
        rope: { ropeTheta: 1e4, rotaryDim: 96, scaling: expect.objectContaining({ type: "longrope" }) },
      },
    ],
    [
      "Phi-4-mini-instruct",
      3_836_021_760,
      { heads: 24, kvHeads: 8, headDim: 128, maxPositionEmbeddings: 131072, tieWordEmbeddings: true },
      "s".repeat(32),
      {
        window: 262144,
        rope: {
          ropeTheta: 1e4,
          rotaryDim: 96,
          scaling: {
            type: "longrope",
            shortFactor: Array.from({ length: 48 }, () => 1),
            longFactor: expect.arrayContaining([1.118320672, 47.77]),
            originalMaxPositionEmbeddings: 4096,
            attentionFactor: expect.closeTo(1.190238, 6),
          },
        },
      },
    ],
    [
      "SmolLM3-3B",
      3_075_098_624,
      { layers: 36, heads: 16, kvHeads: 4, headDim: 128, maxPositionEmbeddings: 65536, tieWordEmbeddings: true },
      "fffF".repeat(9),
      { rope: plain(5e6, 128) },
    ],
    [
      "OLMo-2-0425-1B",
      1_484_916_736,
      { norms: "after", headNorm: "row", headDim: 128, rmsNormEps: 1e-6, normsAddOne: false, eosTokenIds: [100257] },
      "f".repeat(16),
      { rope: plain(5e5, 128) },
    ],
    [
      "granite-3.1-2b-instruct",
      2_533_531_648,
      { attentionScale: 1 / 64, embeddingScale: 12, residualScale: 0.22, logitScale: 1 / 8, vocabSize: 49155 },
      "f".repeat(40),
      { rope: plain(5e6, 64) },
    ],
    [
      "Mistral-7B-Instruct-v0.3",
      7_248_023_552,
      { heads: 32, kvHeads: 8, headDim: 128, vocabSize: 32768, maxPositionEmbeddings: 32768, rmsNormEps: 1e-5 },
      "f".repeat(32),
      FULL,
    ],
  ];

  test.each(models)("%s", (name, parameters, numbers, layers, first) => {
    const { spec, tensors } = read(readJson(CONFIGS, `${name}.json`));
    expect(spec).toMatchObject(numbers);
    expect(pattern(spec)).toBe(layers);
    expect(spec.attention[0]).toEqual(first);
    const shapes = new Map(allTensors(tensors).map(({ name, shape }) => [name, shape]));
    const elements = [...shapes.values()].map((shape) => shape.reduce((a, b) => a * b, 1));
    expect(elements.reduce((a, b) => a + b, 0)).toBe(parameters);
  });

  test("there is one of each config", () => {
    expect(readdirSync(CONFIGS).sort()).toEqual(models.map(([name]) => `${name}.json`).sort());
  });

  test("Phi's fused tensors and partial rotary embedding", () => {
    const { query, key, value, gate, up } = read(readJson(CONFIGS, "Phi-4-mini-instruct.json")).tensors.layers[31]!;
    const qkv = { name: "model.layers.31.self_attn.qkv_proj.weight", shape: [5120, 3072] };
    const headOrder = { headDim: 128, rotaryDim: 96, interleaved: false };
    expect(query).toEqual({ ...qkv, slice: { firstRow: 0, rows: 3072 }, headOrder });
    expect(key).toEqual({ ...qkv, slice: { firstRow: 3072, rows: 1024 }, headOrder });
    expect(value).toEqual({ ...qkv, slice: { firstRow: 4096, rows: 1024 } });
    const gateUp = { name: "model.layers.31.mlp.gate_up_proj.weight", shape: [16384, 3072] };
    expect(gate).toEqual({ ...gateUp, slice: { firstRow: 0, rows: 8192 } });
    expect(up).toEqual({ ...gateUp, slice: { firstRow: 8192, rows: 8192 } });
  });

  test("norms have the names of their family", () => {
    const norms = (name: string) =>
      Object.entries(read(readJson(CONFIGS, `${name}.json`)).tensors.layers[0]!)
        .filter(([key]) => key.endsWith("Norm"))
        .map(
          ([key, { name, shape }]) => `${key} ${name.replace("model.layers.0.", "").replace(".weight", "")} ${shape}`,
        );
    expect(norms("Llama-3.2-1B")).toEqual([
      "inputNorm input_layernorm 2048",
      "preFeedforwardNorm post_attention_layernorm 2048",
    ]);
    expect(norms("gemma-3-1b-it")).toEqual([
      "inputNorm input_layernorm 1152",
      "queryNorm self_attn.q_norm 256",
      "keyNorm self_attn.k_norm 256",
      "postAttentionNorm post_attention_layernorm 1152",
      "preFeedforwardNorm pre_feedforward_layernorm 1152",
      "postFeedforwardNorm post_feedforward_layernorm 1152",
    ]);
    expect(norms("OLMo-2-0425-1B")).toEqual([
      "queryNorm self_attn.q_norm 2048",
      "keyNorm self_attn.k_norm 2048",
      "postAttentionNorm post_attention_layernorm 2048",
      "postFeedforwardNorm post_feedforward_layernorm 2048",
    ]);
  });
});
