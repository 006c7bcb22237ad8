/**
 * The model that a GGUF file describes, in the words of Hugging Face: its settings as a `config.json` and its tensors by
 * Hugging Face's names, so that the families are read from both alike.
 *
 * Source of the keys and names: `gguf-py/gguf/constants.py` and `convert_hf_to_gguf.py` of
 * https://github.com/ggml-org/llama.cpp, which also changes some numbers: rows of Llama's queries and keys are interleaved, and
 * Gemma's norms have their one added.
 */

import { FileFormatError, UnsupportedModelError } from "../errors.ts";
import { quote } from "../json.ts";
import type { ModelConfig } from "../model/config.ts";
import { readModelSpec } from "../model/config.ts";
import type { TensorSpec } from "../model/spec.ts";
import type { GgufHeader, GgufTensor, GgufValue } from "./gguf.ts";
import { type ReadFloats, ROPE_DIVISORS, readRopeScaling } from "./gguf_rope.ts";

type Config = Record<string, unknown>;

/** What tells an architecture of GGUF from the others: the rest of its settings have names of one pattern. */
interface Architecture {
  modelType: string;
  /** Queries and keys were reordered by the conversion. */
  interleavedRotary?: boolean;
  /** Names of tensors that mean something else than in Llama. */
  tensors?: Readonly<Record<string, string>>;
  /** Settings of the family: config key by metadata key, without the architecture's name. */
  settings?: Readonly<Record<string, string>>;
  /** Settings that GGUF leaves to the architecture, where a file says nothing else. */
  defaults?: Config;
  /** Every layer but each of this number has the window, where there is one. */
  windowPeriod?: number;
  /** Layers of the largest model of the family, whose scores are divided by another number. */
  largestModel?: number;
  /** Metadata whose other values change the arithmetic, with the one value that the engine has. Absent stands for it. */
  requires?: Readonly<Record<string, number | boolean>>;
}

const POST_NORMS = {
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
};

const GEMMA = {
  tensors: POST_NORMS,
  settings: {
    attn_logit_softcapping: "attn_logit_softcapping",
    final_logit_softcapping: "final_logit_softcapping",
    "rope.freq_base_swa": "rope_local_base_freq",
  },
  defaults: { hidden_activation: "gelu_pytorch_tanh" },
};

/** Mistral's architecture is Llama's: its conversion drops the window that the first Mistral 7B has. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  llama: { modelType: "llama", interleavedRotary: true },
  qwen2: { modelType: "qwen2" },
  qwen3: { modelType: "qwen3" },
  gemma2: { ...GEMMA, modelType: "gemma2", windowPeriod: 2, largestModel: 46 },
  gemma3: {
    ...GEMMA,
    modelType: "gemma3_text",
    windowPeriod: 6,
    largestModel: 62,
    defaults: { ...GEMMA.defaults, attn_logit_softcapping: null, sliding_window: null },
  },
  phi3: { modelType: "phi3", tensors: { attn_qkv: "self_attn.qkv_proj", ffn_up: "mlp.gate_up_proj" } },
  smollm3: { modelType: "smollm3", interleavedRotary: true },
  olmo2: {
    modelType: "olmo2",
    tensors: { post_attention_norm: "post_attention_layernorm", post_ffw_norm: "post_feedforward_layernorm" },
    requires: { "attention.sliding_window": 0 }, // OLMo 3 has one, and scales RoPE in the other layers only
  },
  granite: {
    modelType: "granite",
    interleavedRotary: true,
    settings: {
      embedding_scale: "embedding_multiplier",
      "attention.scale": "attention_multiplier",
      residual_scale: "residual_multiplier",
      logit_scale: "logits_scaling",
    },
    requires: { "rope.scaling.finetuned": true }, // false: Granite 4 without RoPE
  },
};

/** Of every architecture: mixtures of experts, and encoders. */
const REQUIRES = { expert_count: 0, "attention.causal": true };

/** Names of a layer's tensors, behind `blk.N.` and before `.weight` or `.bias`. */
const LAYER_TENSORS: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** Names of the others. */
const MODEL_TENSORS: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

/** What llama.cpp takes where a file does not say. */
const DEFAULT_ROPE_THETA = 10_000;
const WINDOW_PATTERN = "attention.sliding_window_pattern";
/** Above any model there is: bounds what a damaged number can make us list. */
const MAX_LAYERS = 1024;

/** Settings by metadata key, without the architecture's name. */
const SETTINGS: Readonly<Record<string, string>> = {
  embedding_length: "hidden_size",
  feed_forward_length: "intermediate_size",
  block_count: "num_hidden_layers",
  "attention.head_count": "num_attention_heads",
  "attention.head_count_kv": "num_key_value_heads",
  "attention.key_length": "head_dim",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps",
  "attention.sliding_window": "sliding_window",
  context_length: "max_position_embeddings",
  "rope.freq_base": "rope_theta",
};

/** Where settings stand that are put together here: metadata, without the architecture's name, and tensors. */
const ORIGINS: Readonly<Record<string, string>> = {
  rope_scaling: "rope.scaling",
  "rope_scaling.rope_type": "rope.scaling.type",
  "rope_scaling.original_max_position_embeddings": "rope.scaling.original_context_length",
  "rope_scaling.attention_factor": "rope.scaling.attn_factor",
  "rope_scaling.beta_fast": "rope.scaling.yarn_beta_fast",
  "rope_scaling.beta_slow": "rope.scaling.yarn_beta_slow",
  partial_rotary_factor: "rope.dimension_count",
  layer_types: WINDOW_PATTERN,
};
const TENSOR_ORIGINS: Readonly<Record<string, string>> = {
  vocab_size: "token_embd.weight.shape",
  "rope_scaling.short_factor": "rope_factors_short.weight",
  "rope_scaling.long_factor": "rope_factors_long.weight",
};

/** What every file says, though `config.json` of some family may leave it out. */
const NEEDED: Readonly<Record<string, string>> = {
  "attention.head_count": "num_attention_heads",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps",
  context_length: "max_position_embeddings",
};

/** The model of a GGUF file. */
export interface GgufModel extends ModelConfig {
  /** Tensors by Hugging Face's names. */
  stored: ReadonlyMap<string, GgufTensor>;
  /** What the file calls a tensor that Hugging Face calls so. */
  tensorName(name: string): string;
}

/**
 * @param readFloats reads a small tensor of F32: divisors of RoPE's frequencies stand in tensors
 * @throws UnsupportedModelError for an architecture that is not known, or that is used in a way that is not; FileFormatError
 * when a setting is missing or out of range
 */
export async function readGgufModel(
  { metadata, tensors }: GgufHeader,
  file: string,
  readFloats: ReadFloats,
): Promise<GgufModel> {
  const name = metadata.get("general.architecture");
  const architecture = typeof name === "string" && Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
  if (!architecture) {
    throw unsupported(file, "general.architecture", name, `one of ${Object.keys(ARCHITECTURES).join(", ")}`);
  }
  const get = (key: string) => uniform(metadata.get(`${name}.${key}`), file, `${name}.${key}`);
  for (const [key, only] of Object.entries({ ...REQUIRES, ...architecture.requires })) {
    const value = get(key) ?? only;
    if (value !== only) throw unsupported(file, `${name}.${key}`, value, quote(only));
  }
  const parts = metadata.get("split.count") ?? 1;
  if (typeof parts !== "number" || parts > 1) throw unsupported(file, "split.count", parts, "1: all in one file");

  const stored = new Map<string, GgufTensor>();
  for (const tensor of tensors.values()) {
    const known = huggingFaceName(tensor.name, architecture);
    if (known) stored.set(known, tensor);
  }
  const embedding = stored.get("model.embed_tokens.weight");
  if (!embedding) {
    const expected = "a tensor, the embedding";
    throw new FileFormatError({ file, field: "token_embd.weight", found: "no such tensor", expected });
  }
  const config: Config = {
    ...headSizes(get),
    rope_theta: DEFAULT_ROPE_THETA,
    ...architecture.defaults,
    ...settingsOf(get, { ...SETTINGS, ...architecture.settings }),
    model_type: architecture.modelType,
    vocab_size: embedding.shape[0],
    tie_word_embeddings: !stored.has("lm_head.weight"),
  };
  for (const [key, setting] of Object.entries(NEEDED)) {
    if (config[setting] !== undefined) continue;
    const expected = "a positive number";
    throw new FileFormatError({ file, field: `${name}.${key}`, found: "nothing", expected });
  }
  // Part YaRN, part not; llama.cpp takes what is below 0 for "not said".
  const yarnPart = get("rope.scaling.yarn_ext_factor") ?? 1;
  if (get("rope.scaling.type") === "yarn" && yarnPart !== 1 && !(typeof yarnPart === "number" && yarnPart < 0)) {
    throw unsupported(file, `${name}.rope.scaling.yarn_ext_factor`, yarnPart, "1");
  }
  if (config.sliding_window === 0) config.sliding_window = null;
  requireOneHeadSize(get, config.head_dim, file, String(name));
  rotaryPart(config, get("rope.dimension_count"));
  config.rope_scaling = await readRopeScaling(get, tensors, readFloats, config.max_position_embeddings);
  if (architecture.windowPeriod) {
    config.layer_types = layerTypes(config, metadata.get(`${name}.${WINDOW_PATTERN}`) ?? architecture.windowPeriod);
  }
  if (architecture.largestModel) config.query_pre_attn_scalar = gemmaScalar(config, architecture.largestModel);
  if (name === "granite") config.attention_multiplier ??= Number(config.head_dim) ** -0.5;
  const { interleavedRotary = false } = architecture;
  const model = readModelSpec(config, undefined, file, file, {
    ...{ interleavedRotary, normsIncludeOne: true },
    hasTensor: (wanted) => stored.has(wanted),
    settingName: settingNames(String(name), architecture, tensors.has(ROPE_DIVISORS)),
  });
  requireAllRead(tensors, architecture, model, file);
  return { ...model, stored, tensorName: (wanted) => ggufName(wanted, architecture) };
}

/** What the file calls a setting. */
function settingNames(
  architecture: string,
  { settings }: Architecture,
  oneListOfDivisors: boolean,
): (setting: string) => string {
  const keys = new Map(Object.entries({ ...SETTINGS, ...settings }).map(([key, setting]) => [setting, key]));
  return (setting) => {
    if (Object.hasOwn(TENSOR_ORIGINS, setting)) {
      return oneListOfDivisors && setting.endsWith("_factor") ? ROPE_DIVISORS : TENSOR_ORIGINS[setting]!;
    }
    const known = Object.hasOwn(ORIGINS, setting) ? ORIGINS[setting] : keys.get(setting);
    return `${architecture}.${known ?? setting.replace(/^rope_scaling\b/, "rope.scaling")}`;
  };
}

/** A tensor of a layer that no product or norm reads would be missing from the numbers. */
function requireAllRead(
  tensors: GgufHeader["tensors"],
  architecture: Architecture,
  { tensors: read }: ModelConfig,
  file: string,
): void {
  const inLayers = read.layers.flatMap((layer) => Object.values<TensorSpec | undefined>({ ...layer }));
  const names = new Set(inLayers.map((tensor) => tensor?.name));
  for (const name of tensors.keys()) {
    if (!name.startsWith("blk.") || !/\.(weight|bias)$/.test(name)) continue;
    const known = huggingFaceName(name, architecture);
    if (known !== undefined && names.has(known)) continue;
    throw unsupported(file, name, "a tensor", `none that ${architecture.modelType} does not have`);
  }
}

function unsupported(file: string, field: string, found: unknown, expected: string): UnsupportedModelError {
  return new UnsupportedModelError({ file, field, found: quote(found), expected });
}

/** A setting that some files give for each layer; it must be one for all. */
function uniform(value: GgufValue | undefined, file: string, field: string): unknown {
  if (!ArrayBuffer.isView(value)) return value;
  if (value.length > 0 && value.every((each) => each === value[0])) return value[0];
  throw unsupported(file, field, [...value], "the same for all layers");
}

/** Hugging Face's name of a tensor; undefined for one that no model of ours reads. */
function huggingFaceName(name: string, { tensors }: Architecture): string | undefined {
  if (Object.hasOwn(MODEL_TENSORS, name)) return MODEL_TENSORS[name];
  const [, layer, part, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const names: Readonly<Record<string, string>> = { ...LAYER_TENSORS, ...tensors };
  if (part === undefined || !Object.hasOwn(names, part)) return undefined;
  return `model.layers.${layer}.${names[part]}.${kind}`;
}

/** The file's name of a tensor that Hugging Face calls `name`. */
function ggufName(name: string, { tensors }: Architecture): string {
  const whole = Object.entries(MODEL_TENSORS).find(([, known]) => known === name);
  if (whole) return whole[0];
  const [, layer, part, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  // The architecture's own names come first: Llama's may mean another tensor there.
  const found = Object.entries({ ...tensors, ...LAYER_TENSORS, ...tensors }).find(([, known]) => known === part);
  return found ? `blk.${layer}.${found[0]}.${kind}` : name;
}

function settingsOf(get: (key: string) => unknown, settings: Readonly<Record<string, string>>): Config {
  const entries = Object.entries(settings).flatMap(([key, setting]) => {
    const value = get(key);
    return value === undefined ? [] : [[setting, meant(value)]];
  });
  return Object.fromEntries(entries);
}

/** 1e-5 as a file in f32 has it is not the 1e-5 that was meant: the shortest number is that which f32 rounds to the same. */
function meant(value: unknown): unknown {
  if (typeof value !== "number" || Number.isInteger(value)) return value;
  const digits = [6, 7, 8, 9].find((count) => Math.fround(Number(value.toPrecision(count))) === Math.fround(value));
  return digits === undefined ? value : Number(value.toPrecision(digits));
}

/** What follows from the number of heads where a file does not say: keys and values for each, and the size of one. */
function headSizes(get: (key: string) => unknown): Config {
  const heads = get("attention.head_count");
  const headDim = Number(get("embedding_length")) / Number(heads);
  return { num_key_value_heads: heads, head_dim: Number.isInteger(headDim) ? headDim : null };
}

function requireOneHeadSize(get: (key: string) => unknown, headDim: unknown, file: string, name: string): void {
  const ofValues = get("attention.value_length") ?? headDim;
  if (ofValues === headDim) return;
  throw unsupported(file, `${name}.attention.value_length`, ofValues, `${headDim}, as keys have`);
}

function rotaryPart(config: Config, rotaryDim: unknown): void {
  const headDim = Number(config.head_dim);
  // A little more than the fraction: what is taken of the head is rounded down.
  if (typeof rotaryDim === "number" && rotaryDim < headDim) config.partial_rotary_factor = (rotaryDim + 0.5) / headDim;
}

/** @param pattern whether each layer has the window, or the period of those that have none */
function layerTypes({ num_hidden_layers, sliding_window }: Config, pattern: GgufValue): string[] | null {
  if (!Number.isSafeInteger(num_hidden_layers) || Number(num_hidden_layers) > MAX_LAYERS) return null; // refused later
  const slides = (layer: number) => {
    if (sliding_window === null) return false;
    return ArrayBuffer.isView(pattern) ? pattern[layer] === 1 : (layer + 1) % Number(pattern) !== 0;
  };
  return Array.from({ length: Number(num_hidden_layers) }, (_, layer) =>
    slides(layer) ? "sliding_attention" : "full_attention",
  );
}

/**
 * GGUF has no key for it. Gemma's scores are divided by the root of the head's size, but in the largest models, which
 * llama.cpp tells by the number of their layers as well.
 */
function gemmaScalar({ head_dim, hidden_size, num_attention_heads, num_hidden_layers }: Config, largest: number) {
  return num_hidden_layers === largest ? Number(hidden_size) / Number(num_attention_heads) : head_dim;
}
