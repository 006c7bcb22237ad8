/** Granite 3: Llama with a factor at each place (transformers: `models/granite/modeling_granite.py`). */

import type { Family } from "./family.ts";

export const granite: Family = {
  modelType: "granite",
  norms: "before",
  biases: { qkv: "attention_bias", output: "attention_bias", mlp: "mlp_bias" },
  numbers: (config) => ({
    embeddingScale: config.positive("embedding_multiplier", 1),
    attentionScale: config.positive("attention_multiplier", 1),
    residualScale: config.positive("residual_multiplier", 1),
    logitScale: 1 / config.positive("logits_scaling", 1),
  }),
};
