/**
 * A tiny model of random shape and weights, for properties that must hold of any model.
 */

import type { ReferenceConfig } from "./config.ts";
import { ReferenceModel } from "./model.ts";
import type { Random } from "./random.ts";
import type { Tensor } from "./safetensors.ts";

/** Settings of a random model, with the ones that matter to the test fixed. */
export function randomConfig(random: Random, fixed: Partial<ReferenceConfig> = {}): ReferenceConfig {
  const kvHeads = random.int(1, 2);
  return {
    vocabSize: random.int(5, 24),
    hiddenSize: 4 * random.int(2, 4),
    intermediateSize: random.int(5, 24),
    layers: random.int(2, 4),
    heads: kvHeads * random.int(1, 3),
    kvHeads,
    headDim: 2 * random.int(1, 4),
    maxPositionEmbeddings: 64,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    tieWordEmbeddings: random.uniform() < 0.5,
    eosTokenIds: [],
    ...fixed,
  };
}

/** Weights for `config`, by their Hugging Face names: norms around 1, matrices that keep the size of what they multiply. */
export function randomTensors(random: Random, config: ReferenceConfig): Map<string, Tensor> {
  const { hiddenSize: H, intermediateSize: I, vocabSize: V, heads, kvHeads, headDim } = config;
  const tensors = new Map<string, Tensor>();
  const matrix = (name: string, out: number, inputs: number) =>
    tensors.set(`${name}.weight`, { shape: [out, inputs], values: random.normals(out * inputs, inputs ** -0.5) });
  const norm = (name: string) =>
    tensors.set(`${name}.weight`, { shape: [H], values: random.normals(H, 0.2).map((x) => 1 + x) });

  matrix("model.embed_tokens", V, H);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    norm(`${prefix}.input_layernorm`);
    matrix(`${prefix}.self_attn.q_proj`, heads * headDim, H);
    matrix(`${prefix}.self_attn.k_proj`, kvHeads * headDim, H);
    matrix(`${prefix}.self_attn.v_proj`, kvHeads * headDim, H);
    matrix(`${prefix}.self_attn.o_proj`, H, heads * headDim);
    norm(`${prefix}.post_attention_layernorm`);
    matrix(`${prefix}.mlp.gate_proj`, I, H);
    matrix(`${prefix}.mlp.up_proj`, I, H);
    matrix(`${prefix}.mlp.down_proj`, H, I);
  }
  norm("model.norm");
  if (!config.tieWordEmbeddings) matrix("lm_head", V, H);
  return tensors;
}

export function randomModel(random: Random, fixed: Partial<ReferenceConfig> = {}): ReferenceModel {
  const config = randomConfig(random, fixed);
  return new ReferenceModel(config, randomTensors(random, config));
}
