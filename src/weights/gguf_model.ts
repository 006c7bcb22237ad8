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
import type { GgufHeader, GgufTensor } from "./gguf.ts";

type Metadata = GgufHeader["metadata"];
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
  /** Settings that GGUF leaves to the architecture. */
  fixed?: Config;
}

const POST_NORMS = {
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
};

const GEMMA: Config = {
  hidden_activation: "gelu_pytorch_tanh",
  attn_logit_softcapping: null,
  final_logit_softcapping: null,
};

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  llama: { modelType: "llama", interleavedRotary: true },
  mistral: { modelType: "mistral", interleavedRotary: true, fixed: { sliding_window: null } },
  qwen2: { modelType: "qwen2" },
  qwen3: { modelType: "qwen3" },
  gemma2: {
    modelType: "gemma2",
    tensors: POST_NORMS,
    settings: { attn_logit_softcapping: "attn_logit_softcapping", final_logit_softcapping: "final_logit_softcapping" },
    fixed: GEMMA,
  },
  gemma3: { modelType: "gemma3_text", tensors: POST_NORMS, fixed: GEMMA },
  phi3: { modelType: "phi3", tensors: { attn_qkv: "self_attn.qkv_proj", ffn_up: "mlp.gate_up_proj" } },
  smollm3: { modelType: "smollm3", interleavedRotary: true },
  olmo2: {
    modelType: "olmo2",
    tensors: { post_attention_norm: "post_attention_layernorm", post_ffw_norm: "post_feedforward_layernorm" },
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
  },
};

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

const MODEL_TENSORS: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

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

/** The divisors of RoPE's frequencies that Llama 3's scaling comes to, and LongRoPE's two lists of them. */
const ROPE_TENSORS = {
  divisors: "rope_freqs.weight",
  long: "rope_factors_long.weight",
  short: "rope_factors_short.weight",
};

/** The model of a GGUF file. */
export interface GgufModel extends ModelConfig {
  /** Tensors by Hugging Face's names. */
  stored: ReadonlyMap<string, GgufTensor>;
}

/** Reads the divisors of a tensor of the file. */
export type ReadFloats = (tensor: GgufTensor) => Promise<number[]>;

/**
 * @param readFloats reads a small tensor of F32: divisors of RoPE's frequencies stand in tensors
 * @throws UnsupportedModelError for an architecture that is not known; FileFormatError when a setting is missing or out of range
 */
export async function readGgufModel(
  { metadata, tensors }: GgufHeader,
  file: string,
  readFloats: ReadFloats,
): Promise<GgufModel> {
  const name = metadata.get("general.architecture");
  const architecture = typeof name === "string" && Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name] : undefined;
  if (!architecture) {
    const expected = `one of ${Object.keys(ARCHITECTURES).join(", ")}`;
    throw new UnsupportedModelError({ file, field: "general.architecture", found: quote(name), expected });
  }
  const stored = new Map<string, GgufTensor>();
  for (const tensor of tensors.values()) {
    const known = huggingFaceName(tensor.name, architecture);
    if (known) stored.set(known, tensor);
  }
  const embedding = stored.get("model.embed_tokens.weight");
  const config: Config = {
    model_type: architecture.modelType,
    ...settingsOf(metadata, String(name), { ...SETTINGS, ...architecture.settings }),
    vocab_size: embedding?.shape[0],
    tie_word_embeddings: !stored.has("lm_head.weight"),
    attention_bias: stored.has("model.layers.0.self_attn.q_proj.bias"),
    mlp_bias: stored.has("model.layers.0.mlp.down_proj.bias"),
    ...architecture.fixed,
  };
  if (config.sliding_window === 0) config.sliding_window = null;
  const get = (key: string) => metadata.get(`${name}.${key}`);
  rotaryPart(config, get("rope.dimension_count"));
  config.rope_scaling = await ropeScaling(config, get, tensors, readFloats);
  gemmaSettings(config, file);
  const { interleavedRotary = false } = architecture;
  return {
    ...readModelSpec(config, undefined, file, file, { interleavedRotary, normsIncludeOne: true }),
    stored,
  };
}

/** Hugging Face's name of a tensor; undefined for one that no model of ours reads. */
function huggingFaceName(name: string, { tensors }: Architecture): string | undefined {
  if (Object.hasOwn(MODEL_TENSORS, name)) return MODEL_TENSORS[name];
  const [, layer, part, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const names: Readonly<Record<string, string>> = { ...LAYER_TENSORS, ...tensors };
  if (part === undefined || !Object.hasOwn(names, part)) return undefined;
  return `model.layers.${layer}.${names[part]}.${kind}`;
}

function settingsOf(metadata: Metadata, name: string, settings: Readonly<Record<string, string>>): Config {
  const entries = Object.entries(settings).flatMap(([key, setting]) => {
    const value = metadata.get(`${name}.${key}`);
    return value === undefined ? [] : [[setting, meant(value)]];
  });
  return Object.fromEntries(entries);
}

/** 1e-5 as a file in f32 has it is not the 1e-5 that was meant: 7 digits are what f32 keeps. */
function meant(value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(7)) : value;
}

function rotaryPart(config: Config, rotaryDim: unknown): void {
  const { hidden_size, num_attention_heads, head_dim } = config;
  const headDim = Number(head_dim ?? Number(hidden_size) / Number(num_attention_heads));
  if (typeof rotaryDim === "number" && rotaryDim < headDim) config.partial_rotary_factor = rotaryDim / headDim;
}

/** RoPE's scaling: in settings, or already worked out as divisors of the frequencies. */
async function ropeScaling(
  config: Config,
  get: (key: string) => unknown,
  tensors: GgufHeader["tensors"],
  readFloats: ReadFloats,
): Promise<Config | null> {
  const type = get("rope.scaling.type");
  const factor = get("rope.scaling.factor") ?? get("rope.scale_linear");
  const original = get("rope.scaling.original_context_length");
  const attention = get("rope.scaling.attn_factor");
  const [divisors, long, short] = await Promise.all(
    [ROPE_TENSORS.divisors, ROPE_TENSORS.long, ROPE_TENSORS.short].map(async (name) => {
      const tensor = tensors.get(name);
      return tensor && readFloats(tensor);
    }),
  );
  const context = original ?? config.max_position_embeddings;
  if (divisors) {
    const lists = { short_factor: divisors, long_factor: divisors };
    return { rope_type: "longrope", ...lists, original_max_position_embeddings: context, attention_factor: 1 };
  }
  if (long && short) {
    return {
      ...{ rope_type: "longrope", short_factor: short, long_factor: long, original_max_position_embeddings: context },
      ...(typeof attention === "number" && attention > 0 && { attention_factor: attention }),
    };
  }
  if (type === undefined || type === "none") return null;
  return { rope_type: type, factor, ...(original !== undefined && { original_max_position_embeddings: original }) };
}

/** What GGUF has no keys for. Gemma's scores are divided by the root of the head's size, but in the largest models. */
function gemmaSettings(config: Config, file: string): void {
  if (config.model_type !== "gemma2" && config.model_type !== "gemma3_text") return;
  const { head_dim, hidden_size, num_attention_heads, num_hidden_layers } = config;
  const perHead = Number(hidden_size) / Number(num_attention_heads);
  // llama.cpp decides by the number of layers as well: Gemma 2 27B and Gemma 3 27B.
  const isLargest = num_hidden_layers === (config.model_type === "gemma2" ? 46 : 62);
  config.query_pre_attn_scalar = isLargest ? perHead : head_dim;
  if (typeof head_dim === "number") return;
  const field = "attention.key_length";
  throw new FileFormatError({ file, field, found: quote(head_dim), expected: "the size of a head" });
}
