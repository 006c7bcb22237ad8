/** Qwen 2 and 2.5, Qwen 3 (transformers: `models/qwen2/modeling_qwen2.py`, `models/qwen3/modeling_qwen3.py`). */

import type { Fields } from "../../json.ts";
import type { Family } from "./family.ts";

/** Layers from `max_window_layers` on have the window, where windows are used at all. */
const slides = (config: Fields, layer: number) =>
  config.boolean("use_sliding_window", false) &&
  layer >= config.integer("max_window_layers", { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 28 });

const DEFAULTS = { sliding_window: 4096, num_key_value_heads: 32 };

export const qwen2: Family = {
  modelType: "qwen2",
  defaults: DEFAULTS,
  norms: "before",
  biases: { qkv: true },
  slides,
};

export const qwen3: Family = {
  modelType: "qwen3",
  defaults: { ...DEFAULTS, head_dim: 128 },
  norms: "before",
  headNorm: "head",
  biases: { qkv: "attention_bias", output: "attention_bias" },
  slides,
};
