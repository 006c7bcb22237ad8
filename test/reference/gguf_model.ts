/**
 * A model in Hugging Face's layout as llama.cpp's conversion writes it to GGUF: other names, the rows of Llama's queries and
 * keys reordered, one added to Gemma's norms, RoPE's scaling as divisors. Weights stay F32. No tokenizer.
 *
 * Source: `conversion/*.py` (formerly `convert_hf_to_gguf.py`) of https://github.com/ggml-org/llama.cpp.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { f32, number, u32, type Value, type WrittenTensor, writeGguf } from "./gguf_writer.ts";
import { readTensors, type Tensor } from "./safetensors.ts";

type Json = Record<string, unknown>;

/** Mistral is converted as a Llama, and Gemma 3's text model is called after the whole. */
const ARCHITECTURES: Record<string, string> = { mistral: "llama", gemma3_text: "gemma3" };
const REORDERED = new Set(["llama", "granite", "smollm3"]);

const LAYER: Record<string, string> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.qkv_proj": "attn_qkv",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.gate_up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  pre_feedforward_layernorm: "ffn_norm",
  post_feedforward_layernorm: "post_ffw_norm",
};

export interface Converted {
  metadata: [string, Value][];
  tensors: WrittenTensor[];
}

/** Parts of the GGUF file of the model in `folder`. */
export function convert(folder: string): Converted {
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as Json;
  const modelType = String(config.model_type);
  const architecture = ARCHITECTURES[modelType] ?? modelType;
  const tensors = [...readTensors(folder)].map(([name, tensor]) => convertTensor(name, tensor, architecture, config));
  const rope = ropeOf(config);
  const divisors = rope.rope_type === "llama3" ? llama3Divisors(config, rope) : undefined;
  if (divisors) tensors.push(floats("rope_freqs.weight", [divisors.length], divisors));
  return { metadata: metadataOf(config, architecture, rope), tensors };
}

/** The bytes of the GGUF file of the model in `folder`. */
export function convertToGguf(folder: string): Buffer<ArrayBuffer> {
  return writeGguf(convert(folder));
}

function floats(name: string, shape: readonly number[], values: Float32Array | readonly number[]): WrittenTensor {
  return { name, dtype: "F32", shape, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

function convertTensor(name: string, { shape, values }: Tensor, architecture: string, config: Json): WrittenTensor {
  let numbers: Float32Array = values;
  const heads = Number(config.num_attention_heads);
  const kvHeads = Number(config.num_key_value_heads ?? heads);
  if (REORDERED.has(architecture) && /q_proj\.(weight|bias)$/.test(name)) numbers = permute(values, shape[0]!, heads);
  if (REORDERED.has(architecture) && /k_proj\.(weight|bias)$/.test(name)) numbers = permute(values, shape[0]!, kvHeads);
  if (architecture.startsWith("gemma") && name.endsWith("norm.weight")) numbers = values.map((weight) => weight + 1);
  return floats(ggufName(name, architecture), shape, numbers);
}

function ggufName(name: string, architecture: string): string {
  const others: Record<string, string> = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
  };
  const [, layer, part, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  if (part === undefined) return others[name]!;
  const afterBlocks = architecture.startsWith("gemma") || architecture === "olmo2";
  const own = part === "post_attention_layernorm" ? (afterBlocks ? "post_attention_norm" : "ffn_norm") : LAYER[part];
  return `blk.${layer}.${own}.${kind}`;
}

/** `weights.reshape(heads, 2, rows / heads / 2, ...).swapaxes(1, 2)`: of the two halves of a head's rows, turn by turn. */
function permute(values: Float32Array, rows: number, heads: number): Float32Array {
  const size = values.length / rows;
  const half = rows / heads / 2;
  const permuted = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / (2 * half));
    const within = row % (2 * half);
    const from = head * 2 * half + (within % 2) * half + (within >> 1);
    permuted.set(values.subarray(from * size, (from + 1) * size), row * size);
  }
  return permuted;
}

/** RoPE's settings of the layers without a window, of either spelling. */
function ropeOf(config: Json): Json {
  const parameters = (config.rope_parameters ?? {}) as Json;
  const scaling = (config.rope_scaling ?? {}) as Json;
  const full = (parameters.full_attention ?? parameters) as Json;
  return { rope_theta: config.rope_theta, ...scaling, ...full };
}

function headDimOf(config: Json): number {
  return Number(config.head_dim ?? Number(config.hidden_size) / Number(config.num_attention_heads));
}

function llama3Divisors(config: Json, rope: Json): number[] {
  const dim = headDimOf(config);
  const [factor, low, high, context] = [
    rope.factor,
    rope.low_freq_factor,
    rope.high_freq_factor,
    rope.original_max_position_embeddings,
  ].map(Number) as [number, number, number, number];
  return Array.from({ length: dim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * Number(rope.rope_theta) ** ((2 * i) / dim);
    if (wavelength < context / high) return 1;
    if (wavelength > context / low) return factor;
    const smooth = (context / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

function metadataOf(config: Json, architecture: string, rope: Json): [string, Value][] {
  const own = (key: string, value: unknown, make: (value: number) => Value = u32): [string, Value][] =>
    value === undefined || value === null ? [] : [[`${architecture}.${key}`, make(Number(value))]];
  const window = architecture === "phi3" ? (config.sliding_window ?? 0) : config.sliding_window;
  const partial = Number(config.partial_rotary_factor ?? rope.partial_rotary_factor ?? 1);
  return [
    ["general.architecture", architecture],
    ...own("block_count", config.num_hidden_layers),
    ...own("context_length", config.max_position_embeddings),
    ...own("embedding_length", config.hidden_size),
    ...own("feed_forward_length", config.intermediate_size),
    ...own("attention.head_count", config.num_attention_heads),
    ...own("attention.head_count_kv", config.num_key_value_heads),
    ...own("attention.key_length", config.head_dim),
    ...own("attention.value_length", config.head_dim),
    ...own("attention.layer_norm_rms_epsilon", config.rms_norm_eps, f32),
    ...own("rope.freq_base", rope.rope_theta, f32),
    ...(REORDERED.has(architecture) || architecture === "phi3"
      ? own("rope.dimension_count", Math.floor(headDimOf(config) * partial))
      : []),
    ...(rope.rope_type === "linear"
      ? ([[`${architecture}.rope.scaling.type`, "linear"], ...own("rope.scaling.factor", rope.factor, f32)] as [
          string,
          Value,
        ][])
      : []),
    ...(architecture.startsWith("gemma") || architecture === "phi3" ? own("attention.sliding_window", window) : []),
    ...own("attn_logit_softcapping", config.attn_logit_softcapping, f32),
    ...own("final_logit_softcapping", config.final_logit_softcapping, f32),
    ...own("attention.scale", config.attention_multiplier, f32),
    ...own("embedding_scale", config.embedding_multiplier, f32),
    ...own("residual_scale", config.residual_multiplier, f32),
    ...own("logit_scale", config.logits_scaling, f32),
    ["general.file_type", number("u32", 0)],
  ];
}
