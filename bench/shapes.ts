/**
 * Models as shapes: their layers, without weights anyone trained. What a kernel costs depends on nothing else.
 */

import { readModelSpec } from "../src/model/config.ts";
import type { ModelSpec } from "../src/model/spec.ts";

/** A Llama of these sizes, named as in `config.json`. */
export function llamaShape(sizes: {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  max_position_embeddings?: number;
}): ModelSpec {
  const config = {
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    eos_token_id: 0,
    ...sizes,
  };
  return readModelSpec({ model_type: "llama", ...config }, undefined, "bench/shapes.ts").spec;
}

/** The shapes benches and counts go by, as the models' `config.json` have them. */
export const SHAPES = {
  "SmolLM2-135M": llamaShape({
    vocab_size: 49_152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    head_dim: 64,
  }),
  "Llama-3.2-1B": llamaShape({
    vocab_size: 128_256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
  }),
  "Qwen3-4B": llamaShape({
    vocab_size: 151_936,
    hidden_size: 2560,
    intermediate_size: 9728,
    num_hidden_layers: 36,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
  }),
} as const satisfies Record<string, ModelSpec>;

export type ShapeName = keyof typeof SHAPES;
