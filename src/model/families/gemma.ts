/** Gemma 2 and the text models of Gemma 3 (transformers: `models/gemma2/`, `models/gemma3/`). */

import type { Family } from "./family.ts";

const gemma = {
  norms: "both",
  normsAddOne: true,
  requires: { use_bidirectional_attention: false }, // as EmbeddingGemma has it
  tensors: { preFeedforwardNorm: "pre_feedforward_layernorm.weight" },
  biases: { qkv: "attention_bias", output: "attention_bias" },
  numbers: (config, { hiddenSize }) => ({
    embeddingScale: Math.sqrt(hiddenSize),
    attentionScale: config.positive("query_pre_attn_scalar") ** -0.5,
    ...config.given("attentionSoftCap", "attn_logit_softcapping"),
    ...config.given("logitSoftCap", "final_logit_softcapping"),
  }),
} satisfies Partial<Family>;

const DEFAULTS = {
  head_dim: 256,
  num_key_value_heads: 4,
  sliding_window: 4096,
  query_pre_attn_scalar: 256,
  tie_word_embeddings: true,
  hidden_activation: "gelu_pytorch_tanh",
};

/** Every second layer has a window. */
export const gemma2: Family = {
  ...gemma,
  modelType: "gemma2",
  defaults: { ...DEFAULTS, attn_logit_softcapping: 50, final_logit_softcapping: 30 },
  slides: (_config, layer) => layer % 2 === 0,
};

/** All layers but every sixth have a window, and a RoPE base of their own. */
export const gemma3: Family = {
  ...gemma,
  modelType: "gemma3_text",
  // As the text part of a model that sees, a file may leave out what is so in the smallest of them.
  defaults: {
    ...DEFAULTS,
    rope_theta: 1e6,
    vocab_size: 262_208,
    num_attention_heads: 8,
    max_position_embeddings: 131_072,
  },
  headNorm: "head",
  slides: (config, layer) => {
    const period = { min: 1, max: Number.MAX_SAFE_INTEGER, fallback: 6 };
    const key =
      config.get("sliding_window_pattern") === undefined ? "_sliding_window_pattern" : "sliding_window_pattern";
    return (layer + 1) % config.integer(key, period) !== 0;
  },
  localRopeTheta: { key: "rope_local_base_freq", fallback: 10_000 },
};
