/** Phi-3, Phi-3.5 and Phi-4, also mini (transformers: `models/phi3/modeling_phi3.py`). */

import type { Family } from "./family.ts";

export const phi3: Family = {
  modelType: "phi3",
  defaults: { rms_norm_eps: 1e-5, original_max_position_embeddings: 4096 },
  norms: "before",
  slides: () => true,
  fused: { qkv: "self_attn.qkv_proj.weight", gateUp: "mlp.gate_up_proj.weight" },
};
