/**
 * What the engine needs to know of a model's architecture: numbers, not code.
 *
 * A family file (`families/*.ts`) and `config.json` make a `ModelSpec`; everything past it reads only this.
 */

/** How a checkpoint trained with the LayerSkip recipe wants to be drafted (`config.json`: `layerskip`). */
export interface LayerSkipSpec {
  /** Recommended exit layer E: drafts run layers [0, E). */
  exitLayer: number;
  /** Recommended number of draft tokens a round. */
  draftLength: number;
}

/** How RoPE's frequencies are changed for contexts longer than a model was trained with (kernels/rope.ts has the formulas). */
export type RopeScaling =
  | { type: "default" }
  | { type: "linear"; factor: number }
  | { type: "dynamic"; factor: number; originalMaxPositionEmbeddings: number }
  | {
      type: "yarn";
      factor: number;
      originalMaxPositionEmbeddings: number;
      betaFast: number;
      betaSlow: number;
      /** Factor of cos and sin. */
      attentionFactor: number;
      /** Whether the range of frequencies that are blended is cut to whole numbers. */
      truncate: boolean;
    }
  | {
      type: "llama3";
      factor: number;
      lowFreqFactor: number;
      highFreqFactor: number;
      originalMaxPositionEmbeddings: number;
    }
  | {
      type: "longrope";
      /** Divisors of the frequencies, one a pair: up to the original context, and past it. */
      shortFactor: readonly number[];
      longFactor: readonly number[];
      originalMaxPositionEmbeddings: number;
      attentionFactor: number;
    };

/** The rotations of a layer's queries and keys. */
export interface RopeSpec {
  ropeTheta: number;
  /** Elements of a head that are rotated; the others pass. */
  rotaryDim: number;
  scaling: RopeScaling;
}

/** What tells the attention of one layer from that of another. */
export interface LayerAttention {
  /** Rows see the keys at positions above their own less this; all if absent. */
  window?: number;
  /** Absent in layers without positions. Layers with the same rotations share one object. */
  rope?: RopeSpec;
}

export type Activation = "silu" | "gelu_tanh";

/**
 * Where a block (attention, feed-forward) is normed: its input, its output before it is added to the residual stream, or
 * both.
 */
export type NormPlacement = "before" | "after" | "both";

export interface ModelSpec {
  /** Hugging Face `model_type`. */
  family: string;
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
  /** The longest context: `max_position_embeddings`, or what its scaling extends it to. */
  maxPositionEmbeddings: number;
  rmsNormEps: number;
  activation: Activation;
  norms: NormPlacement;
  /** Queries and keys are normed before they are rotated: each head, or all heads of a row together. */
  headNorm?: "head" | "row";
  /** The checkpoint stores the weights of norms less one. */
  normsAddOne: boolean;
  /** Of each layer. */
  attention: readonly LayerAttention[];
  /** Factor of the scores. */
  attentionScale: number;
  /** Scores become softCap * tanh(score / softCap). */
  attentionSoftCap?: number;
  /** Factor of the embeddings. */
  embeddingScale: number;
  /** Factor of what a block adds to the residual stream. */
  residualScale: number;
  /** Factor of the logits. */
  logitScale: number;
  /** Logits become softCap * tanh(logit / softCap). */
  logitSoftCap?: number;
  /** The LM head is the embedding matrix. */
  tieWordEmbeddings: boolean;
  /** Every id that ends a generation: of `config.json` and `generation_config.json`, without repeats. */
  eosTokenIds: readonly number[];
  layerSkip?: LayerSkipSpec;
}

/** How a checkpoint orders the elements that RoPE rotates within each head. */
export interface HeadOrder {
  headDim: number;
  /** Elements that are rotated, the first of a head. */
  rotaryDim: number;
  /** Pairs are neighbours, as llama.cpp stores them, rather than in two halves. */
  interleaved: boolean;
}

/** A weight tensor as a family names it, with the shape the spec implies (row-major, `[out, in]` for matrices). */
export interface TensorSpec {
  name: string;
  shape: readonly number[];
  /** The rows that are meant, of a tensor that holds several matrices; all if absent. */
  slice?: { firstRow: number; rows: number };
  /** Of queries' and keys' rows, where it is not the engine's own (a pair is half a head apart). */
  headOrder?: HeadOrder;
}

/** The tensors of one decoder layer. What a family does not have is absent. */
export interface LayerTensors {
  inputNorm?: TensorSpec;
  query: TensorSpec;
  key: TensorSpec;
  value: TensorSpec;
  queryBias?: TensorSpec;
  keyBias?: TensorSpec;
  valueBias?: TensorSpec;
  queryNorm?: TensorSpec;
  keyNorm?: TensorSpec;
  output: TensorSpec;
  outputBias?: TensorSpec;
  /** Norm of what attention adds to the residual stream. */
  postAttentionNorm?: TensorSpec;
  /** Norm of the feed-forward block's input. */
  preFeedforwardNorm?: TensorSpec;
  gate: TensorSpec;
  up: TensorSpec;
  down: TensorSpec;
  gateBias?: TensorSpec;
  upBias?: TensorSpec;
  downBias?: TensorSpec;
  /** Norm of what the feed-forward block adds to the residual stream. */
  postFeedforwardNorm?: TensorSpec;
}

/** All tensors of a model. `head` is absent when the embedding serves as head. */
export interface ModelTensors {
  embedding: TensorSpec;
  layers: readonly LayerTensors[];
  finalNorm: TensorSpec;
  head?: TensorSpec;
}
