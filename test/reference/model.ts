/**
 * The reference decoder: a Llama in float64, one position after the other.
 *
 * It is the oracle of the GPU code and shares none of it. A row's result depends on nothing but the tokens before it, so
 * decoding token by token, verifying several at once and running a whole prompt give the same numbers, bit for bit.
 */

import { type ReferenceConfig, readConfig } from "./config.ts";
import { add, argmax, attention, bfloat16, type Floats, matmul, rmsNorm, rope, silu } from "./ops.ts";
import { readTensors, type Tensor } from "./safetensors.ts";

/** The weights of one decoder layer; matrices are `[out, in]`. H = hidden size, I = intermediate size. */
interface LayerWeights {
  inputNorm: Floats; // [H]
  query: Floats; // [heads * headDim, H]
  key: Floats; // [kvHeads * headDim, H]
  value: Floats; // [kvHeads * headDim, H]
  output: Floats; // [H, heads * headDim]
  postAttentionNorm: Floats; // [H]
  gate: Floats; // [I, H]
  up: Floats; // [I, H]
  down: Floats; // [H, I]
}

/**
 * Keys (after RoPE) and values of every position so far: `keys[layer][kvHead]` is `[capacity, headDim]`.
 *
 * There is no length: the position is the slot, and a row of position p reads slots 0..p. To roll back is to go on at
 * an earlier position. Slots never written are NaN, so that reading one shows.
 */
export interface KeyValueCache {
  capacity: number;
  keys: Float64Array[][];
  values: Float64Array[][];
}

export interface GreedyOptions {
  /** New tokens at most. */
  maxTokens: number;
  /** Ids that end the text; by default the model's. The one that ended it is the last id returned. */
  eosIds?: readonly number[];
  /** Prompt and new tokens together at most; by default the model's `max_position_embeddings`. */
  contextLength?: number;
}

/** A run of layers, `[fromLayer, toLayer)`; by default all. */
export interface LayerRange {
  fromLayer?: number;
  toLayer?: number;
}

export class ReferenceModel {
  readonly config: ReferenceConfig;
  readonly #embedding: Floats; // [vocabulary, H]
  readonly #layers: readonly LayerWeights[];
  readonly #finalNorm: Floats; // [H]
  readonly #head: Floats; // [vocabulary, H]

  /**
   * A Hugging Face folder: `config.json` and safetensors (one file or shards) in f32, f16 or bf16. `overrides` replace
   * settings of the config.
   */
  static load(folder: string, overrides: Partial<ReferenceConfig> = {}): ReferenceModel {
    return new ReferenceModel({ ...readConfig(folder), ...overrides }, readTensors(folder));
  }

  /** `tensors`: by their Hugging Face names. */
  constructor(config: ReferenceConfig, tensors: ReadonlyMap<string, Tensor>) {
    const tensor = (name: string, ...shape: number[]): Floats => {
      const found = tensors.get(name);
      if (found?.shape.join() !== shape.join()) {
        throw new Error(`${name}: ${found ? `shape [${found.shape}]` : "missing"}, expected [${shape}]`);
      }
      return found.values;
    };
    const { hiddenSize: H, intermediateSize: I, vocabSize: V, heads, kvHeads, headDim } = config;
    this.config = config;
    this.#embedding = tensor("model.embed_tokens.weight", V, H);
    this.#finalNorm = tensor("model.norm.weight", H);
    this.#head = config.tieWordEmbeddings ? this.#embedding : tensor("lm_head.weight", V, H);
    this.#layers = Array.from({ length: config.layers }, (_, layer) => {
      const part = (name: string, ...shape: number[]) => tensor(`model.layers.${layer}.${name}.weight`, ...shape);
      return {
        inputNorm: part("input_layernorm", H),
        query: part("self_attn.q_proj", heads * headDim, H),
        key: part("self_attn.k_proj", kvHeads * headDim, H),
        value: part("self_attn.v_proj", kvHeads * headDim, H),
        output: part("self_attn.o_proj", H, heads * headDim),
        postAttentionNorm: part("post_attention_layernorm", H),
        gate: part("mlp.gate_proj", I, H),
        up: part("mlp.up_proj", I, H),
        down: part("mlp.down_proj", H, I),
      };
    });
  }

  newCache(capacity: number = this.config.maxPositionEmbeddings): KeyValueCache {
    const { layers, kvHeads, headDim } = this.config;
    const slots = () =>
      Array.from({ length: layers }, () =>
        Array.from({ length: kvHeads }, () => new Float64Array(capacity * headDim).fill(NaN)),
      );
    return { capacity, keys: slots(), values: slots() };
  }

  /** The embedding of each id: one row `[H]` per id, the hidden state before layer 0. */
  embed(ids: readonly number[]): Float64Array[] {
    const { hiddenSize: H, vocabSize } = this.config;
    return ids.map((id) => {
      if (!(id >= 0 && id < vocabSize)) throw new RangeError(`token id ${id} is not in [0, ${vocabSize})`);
      return Float64Array.from(this.#embedding.subarray(id * H, (id + 1) * H));
    });
  }

  /**
   * Runs rows of hidden state through layers `[fromLayer, toLayer)`; row r is position `startPosition + r`. Reads the
   * cache below `startPosition`, writes it from there on.
   *
   * `hidden: [rows][H]` (before layer `fromLayer`) -> `[rows][H]` (before layer `toLayer`).
   */
  forward(
    hidden: readonly Float64Array[],
    startPosition: number,
    cache: KeyValueCache,
    { fromLayer = 0, toLayer = this.config.layers }: LayerRange = {},
  ): Float64Array[] {
    if (startPosition + hidden.length > cache.capacity) {
      throw new RangeError(`${hidden.length} rows from position ${startPosition} on, but ${cache.capacity} KV slots`);
    }
    return hidden.map((row, r) => {
      let x = row;
      for (let layer = fromLayer; layer < toLayer; layer++) x = this.#decoderLayer(layer, x, startPosition + r, cache);
      return x;
    });
  }

  /** Final norm and head of one hidden state, of the last layer or an earlier exit: `[H]` -> `[vocabulary]`. */
  head(hidden: Floats): Float64Array {
    return matmul(this.#head, rmsNorm(hidden, this.#finalNorm, this.config.rmsNormEps));
  }

  /** The hidden state after the first `layers` layers: one row `[H]` per position of `ids`. */
  hiddenStates(ids: readonly number[], layers: number = this.config.layers): Float64Array[] {
    return this.forward(this.embed(ids), 0, this.newCache(ids.length), { toLayer: layers });
  }

  /** The logits after the first `exitLayer` layers, final norm and head: one row `[vocabulary]` per position. */
  logits(ids: readonly number[], exitLayer: number = this.config.layers): Float64Array[] {
    return this.hiddenStates(ids, exitLayer).map((row) => this.head(row));
  }

  /** Plain greedy decoding: the new ids, without the prompt. */
  greedy(
    prompt: readonly number[],
    { maxTokens, eosIds = this.config.eosTokenIds, contextLength = this.config.maxPositionEmbeddings }: GreedyOptions,
  ): number[] {
    const limit = newTokenLimit(prompt, maxTokens, contextLength);
    const cache = this.newCache(prompt.length + limit);
    const emitted: number[] = [];
    let pending = prompt;
    let position = 0;
    while (emitted.length < limit && !eosIds.includes(emitted.at(-1) ?? -1)) {
      const last = this.forward(this.embed(pending), position, cache).at(-1)!;
      position += pending.length;
      pending = [argmax(this.head(last))];
      emitted.push(...pending);
    }
    return emitted;
  }

  /** One decoder layer for the row of one position: `x: [H]` -> `[H]`. */
  #decoderLayer(layer: number, x: Float64Array, position: number, cache: KeyValueCache): Float64Array {
    const { rmsNormEps } = this.config;
    const w = this.#layers[layer]!;
    const afterAttention = add(x, this.#selfAttention(layer, rmsNorm(x, w.inputNorm, rmsNormEps), position, cache));
    const normed = rmsNorm(afterAttention, w.postAttentionNorm, rmsNormEps);
    const up = matmul(w.up, normed); // [I]
    const gated = matmul(w.gate, normed).map((gate, i) => silu(gate) * up[i]!); // [I]
    return add(afterAttention, matmul(w.down, gated));
  }

  /** Causal self-attention of one row over positions 0..position; consecutive query heads share a key/value head. */
  #selfAttention(layer: number, x: Float64Array, position: number, cache: KeyValueCache): Float64Array {
    const { heads, kvHeads, headDim, ropeTheta, ropeFrequencyFormat } = this.config;
    const rotate = (vec: Float64Array) =>
      rope(vec, position, ropeTheta, ropeFrequencyFormat === "bfloat16" ? bfloat16 : undefined);
    const w = this.#layers[layer]!;
    const q = matmul(w.query, x); // [heads, headDim]
    const k = matmul(w.key, x); // [kvHeads, headDim]
    const v = matmul(w.value, x); // [kvHeads, headDim]
    const keys = cache.keys[layer]!;
    const values = cache.values[layer]!;

    for (let h = 0; h < kvHeads; h++) {
      keys[h]!.set(rotate(rowOf(k, h, headDim)), position * headDim);
      values[h]!.set(rowOf(v, h, headDim), position * headDim);
    }
    const seen = (position + 1) * headDim;
    const mixed = new Float64Array(heads * headDim);
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h / (heads / kvHeads));
      const query = rotate(rowOf(q, h, headDim));
      mixed.set(attention(query, keys[kvHead]!.subarray(0, seen), values[kvHead]!.subarray(0, seen)), h * headDim);
    }
    return matmul(w.output, mixed);
  }
}

/**
 * New tokens that a request may get: prompt and new tokens never exceed the context length in total. (The last token
 * needs no KV slot, as nothing comes after it.)
 */
export function newTokenLimit(prompt: readonly number[], maxTokens: number, contextLength: number): number {
  if (prompt.length === 0) throw new RangeError("the prompt is empty");
  if (prompt.length > contextLength) {
    throw new RangeError(`the prompt's ${prompt.length} tokens exceed the context length ${contextLength}`);
  }
  return Math.min(maxTokens, contextLength - prompt.length);
}

/** Row `index` of `matrix: [rows, width]`, as a view. */
function rowOf(matrix: Float64Array, index: number, width: number): Float64Array {
  return matrix.subarray(index * width, (index + 1) * width);
}
