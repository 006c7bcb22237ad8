/** Llama 1 to 3, TinyLlama, SmolLM 1 and 2, LayerSkip checkpoints (transformers: `models/llama/modeling_llama.py`). */

import type { Family } from "./family.ts";

export const llama: Family = {
  modelType: "llama",
  norms: "before",
  biases: { qkv: "attention_bias", output: "attention_bias", mlp: "mlp_bias" },
};
