/**
 * What the engine needs to know of a model's architecture: numbers, not code.
 *
 * A family file (`families/*.ts`) turns `config.json` into a `ModelSpec`; everything past it reads only this.
 */

/** How a checkpoint trained with the LayerSkip recipe wants to be drafted (`config.json`: `layerskip`). */
export interface LayerSkipSpec {
  /** Recommended exit layer E: drafts run layers [0, E). */
  exitLayer: number;
  /** Recommended number of draft tokens a round. */
  draftLength: number;
}

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
  /** `max_position_embeddings`. */
  maxPositionEmbeddings: number;
  rmsNormEps: number;
  ropeTheta: number;
  /** The LM head is the embedding matrix. */
  tieWordEmbeddings: boolean;
  /** Every id that ends a generation: of `config.json` and `generation_config.json`, without repeats. */
  eosTokenIds: readonly number[];
  layerSkip?: LayerSkipSpec;
}

/** A weight tensor as a family names it, with the shape the spec implies (row-major, `[out, in]` for matrices). */
export interface TensorSpec {
  name: string;
  shape: readonly number[];
}

/** The tensors of one decoder layer. */
export interface LayerTensors {
  inputNorm: TensorSpec;
  query: TensorSpec;
  key: TensorSpec;
  value: TensorSpec;
  output: TensorSpec;
  postAttentionNorm: TensorSpec;
  gate: TensorSpec;
  up: TensorSpec;
  down: TensorSpec;
}

/** All tensors of a model. `head` is absent when the embedding serves as head. */
export interface ModelTensors {
  embedding: TensorSpec;
  layers: readonly LayerTensors[];
  finalNorm: TensorSpec;
  head?: TensorSpec;
}
