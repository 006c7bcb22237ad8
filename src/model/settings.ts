/** Settings of `config.json` that are understood, or change no arithmetic: those of an unknown family beside these are named in its error. */

const INTERPRETED = new Set(
  `
  model_type architectures hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
  vocab_size max_position_embeddings original_max_position_embeddings rms_norm_eps hidden_act hidden_activation
  tie_word_embeddings attention_bias mlp_bias rope_theta rope_scaling rope_parameters rope_local_base_freq
  partial_rotary_factor sliding_window use_sliding_window max_window_layers layer_types sliding_window_pattern
  _sliding_window_pattern no_rope_layers no_rope_layer_interval query_pre_attn_scalar attn_logit_softcapping
  final_logit_softcapping embedding_multiplier attention_multiplier residual_multiplier logits_scaling
  bos_token_id eos_token_id pad_token_id layerskip torch_dtype dtype transformers_version use_cache initializer_range
  attention_dropout embd_pdrop resid_pdrop pretraining_tp auto_map use_bidirectional_attention cache_implementation
  _name_or_path _attn_implementation
  `
    .trim()
    .split(/\s+/),
);

/** Whether a setting is one that some family reads, or that changes nothing. */
export function isInterpreted(key: string): boolean {
  return INTERPRETED.has(key);
}
