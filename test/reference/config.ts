/**
 * The numbers of a Llama in `config.json`, read without any code of `src/`.
 *
 * The reference refuses what it does not compute, so that it is never an oracle for a model it got wrong.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Named like `ModelSpec` of `src/model/spec.ts`, so that a spec can be handed over as it is. */
export interface ReferenceConfig {
  vocabSize: number;
  hiddenSize: number;
  intermediateSize: number;
  /** Number of decoder layers L. */
  layers: number;
  /** Query heads. */
  heads: number;
  /** Key/value heads; `heads / kvHeads` query heads share one. */
  kvHeads: number;
  headDim: number;
  maxPositionEmbeddings: number;
  rmsNormEps: number;
  ropeTheta: number;
  /**
   * Format that RoPE's frequencies were rounded to: float32, unless a model was run after a cast to bfloat16 in PyTorch,
   * which rounds this buffer along with the weights (transformers issue 30709). `config.json` does not tell.
   */
  ropeFrequencyFormat?: "float32" | "bfloat16";
  /** The head is the embedding matrix. */
  tieWordEmbeddings: boolean;
  eosTokenIds: readonly number[];
}

/** `config.json` of a Hugging Face folder. Both spellings of RoPE's settings: transformers 4 and 5. */
export function readConfig(folder: string): ReferenceConfig {
  const path = join(folder, "config.json");
  const json = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  const number = (key: string, from: Record<string, unknown> = json): number => {
    const value = from[key];
    if (typeof value !== "number") throw new Error(`${path}: ${key} is ${JSON.stringify(value)}, expected a number`);
    return value;
  };
  const refuse = (key: string, supported: unknown, value: unknown = json[key]): void => {
    if (value === undefined || value === null || value === supported) return;
    throw new Error(`${path}: the reference decoder has no ${key} ${JSON.stringify(value)}`);
  };

  const rope = (json.rope_parameters ?? json.rope_scaling ?? {}) as Record<string, unknown>;
  refuse("model_type", "llama");
  refuse("hidden_act", "silu");
  refuse("attention_bias", false);
  refuse("mlp_bias", false);
  refuse("rope_type", "default", rope.rope_type ?? rope.type);

  const heads = number("num_attention_heads");
  return {
    vocabSize: number("vocab_size"),
    hiddenSize: number("hidden_size"),
    intermediateSize: number("intermediate_size"),
    layers: number("num_hidden_layers"),
    heads,
    kvHeads: json.num_key_value_heads == null ? heads : number("num_key_value_heads"),
    headDim: json.head_dim == null ? number("hidden_size") / heads : number("head_dim"),
    maxPositionEmbeddings: number("max_position_embeddings"),
    rmsNormEps: number("rms_norm_eps"),
    ropeTheta: rope.rope_theta === undefined ? number("rope_theta") : number("rope_theta", rope),
    tieWordEmbeddings: json.tie_word_embeddings === true,
    eosTokenIds: readEosIds(folder),
  };
}

/** Every id that ends a generation, of both files that may name some: a number, a list or nothing in each. */
function readEosIds(folder: string): number[] {
  const ids = ["config.json", "generation_config.json"]
    .map((file) => join(folder, file))
    .filter((path) => existsSync(path))
    .flatMap((path) => (JSON.parse(readFileSync(path, "utf8")) as { eos_token_id?: unknown }).eos_token_id)
    .filter((id): id is number => typeof id === "number");
  return [...new Set(ids)];
}
