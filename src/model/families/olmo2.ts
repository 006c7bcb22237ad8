/** OLMo 2: norms behind the blocks, queries and keys normed over all heads (transformers: `models/olmo2/`). */

import type { Family } from "./family.ts";

export const olmo2: Family = {
  modelType: "olmo2",
  defaults: { rms_norm_eps: 1e-5 },
  norms: "after",
  headNorm: "row",
  biases: { qkv: "attention_bias", output: "attention_bias" },
};
