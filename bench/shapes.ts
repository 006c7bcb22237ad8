/**
 * Models as shapes: their layers, without weights anyone trained. What a kernel costs depends on nothing else.
 */

import type { ModelSpec } from "../src/model/spec.ts";

const LLAMA = {
  family: "llama",
  rmsNormEps: 1e-5,
  ropeTheta: 10_000,
  eosTokenIds: [0],
  maxPositionEmbeddings: 8192,
  tieWordEmbeddings: true,
} as const;

/** The shapes benches and counts go by, as the models' `config.json` have them. */
export const SHAPES = {
  "SmolLM2-135M": {
    ...LLAMA,
    vocabSize: 49_152,
    hiddenSize: 576,
    intermediateSize: 1536,
    layers: 30,
    heads: 9,
    kvHeads: 3,
    headDim: 64,
  },
  "Llama-3.2-1B": {
    ...LLAMA,
    vocabSize: 128_256,
    hiddenSize: 2048,
    intermediateSize: 8192,
    layers: 16,
    heads: 32,
    kvHeads: 8,
    headDim: 64,
  },
  "Qwen3-4B": {
    ...LLAMA,
    vocabSize: 151_936,
    hiddenSize: 2560,
    intermediateSize: 9728,
    layers: 36,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
  },
} as const satisfies Record<string, ModelSpec>;

export type ShapeName = keyof typeof SHAPES;
