/** What can be asked for by name: shapes of models, and kernels. */

import type { ModelSpec } from "../../src/model/spec.ts";
import { SHAPES } from "../shapes.ts";

/** The shapes of `SHAPES`, and that of the model that comes with the package, for a quick look. */
export const BENCH_SHAPES = {
  ...SHAPES,
  stories260K: {
    family: "llama",
    vocabSize: 512,
    hiddenSize: 64,
    intermediateSize: 172,
    layers: 5,
    heads: 8,
    kvHeads: 4,
    headDim: 8,
    rmsNormEps: 1e-5,
    ropeTheta: 10_000,
    eosTokenIds: [1],
    maxPositionEmbeddings: 512,
    tieWordEmbeddings: true,
  },
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
