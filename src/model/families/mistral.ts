/** Mistral 7B, Ministral, Nemo (transformers: `models/mistral/modeling_mistral.py`). */

import type { Family } from "./family.ts";

export const mistral: Family = {
  modelType: "mistral",
  defaults: { sliding_window: 4096, num_key_value_heads: 8 },
  norms: "before",
  slides: () => true,
};
