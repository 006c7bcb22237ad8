/** Llama 1 to 3, TinyLlama, SmolLM, LayerSkip checkpoints (transformers: `models/llama/modeling_llama.py`). */

import type { Family } from "./family.ts";

export const llama: Family = {
  modelType: "llama",
  requires: { hidden_act: "silu", attention_bias: false, mlp_bias: false, partial_rotary_factor: 1 },
  tensors: {
    embedding: "model.embed_tokens.weight",
    layers: "model.layers",
    layer: {
      inputNorm: "input_layernorm.weight",
      query: "self_attn.q_proj.weight",
      key: "self_attn.k_proj.weight",
      value: "self_attn.v_proj.weight",
      output: "self_attn.o_proj.weight",
      postAttentionNorm: "post_attention_layernorm.weight",
      gate: "mlp.gate_proj.weight",
      up: "mlp.up_proj.weight",
      down: "mlp.down_proj.weight",
    },
    finalNorm: "model.norm.weight",
    head: "lm_head.weight",
  },
};
