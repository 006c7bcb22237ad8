/** What can be asked for by name: shapes of models, and kernels. */

import type { ModelSpec } from "../../src/model/spec.ts";
import { llamaShape, SHAPES } from "../shapes.ts";

/** The shapes of `SHAPES`, and that of the model that comes with the package, for a quick look. */
export const BENCH_SHAPES = {
  ...SHAPES,
  stories260K: llamaShape({
    vocab_size: 512,
    hidden_size: 64,
    intermediate_size: 172,
    num_hidden_layers: 5,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 8,
    max_position_embeddings: 512,
  }),
} as const satisfies Record<string, ModelSpec>;

export type BenchShape = keyof typeof BENCH_SHAPES;

/** Products of a layer, in the order they are computed. */
export const PRODUCTS = ["qkv", "output", "gated", "down"] as const;
export type ProductName = (typeof PRODUCTS)[number];

/** Kernels of generated rows, then those of a prompt's. */
export const KERNELS = [
  ...PRODUCTS,
  "head",
  "attention",
  "norm",
  "embedding",
  "prompt-qkv",
  "prompt-output",
  "prompt-gated",
  "prompt-down",
  "prompt-attention",
] as const;
export type KernelName = (typeof KERNELS)[number];
