/** SmolLM3: Llama without positions in every fourth layer (transformers: `models/smollm3/modeling_smollm3.py`). */

import type { Fields } from "../../json.ts";
import type { Family } from "./family.ts";

function ropeless(config: Fields, layer: number): boolean {
  const listed = config.get("no_rope_layers"); // 1 where a layer has RoPE
  if (Array.isArray(listed)) return listed[layer] === 0;
  const period = { min: 1, max: Number.MAX_SAFE_INTEGER, fallback: 4 };
  return (layer + 1) % config.integer("no_rope_layer_interval", period) === 0;
}

export const smollm3: Family = {
  modelType: "smollm3",
  defaults: { rope_theta: 2e6, num_key_value_heads: 4, tie_word_embeddings: true },
  norms: "before",
  biases: { qkv: "attention_bias", output: "attention_bias", mlp: "mlp_bias" },
  slides: (config, layer) => config.boolean("use_sliding_window", false) && ropeless(config, layer),
  ropeless,
};
