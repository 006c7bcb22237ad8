/** The tensors of a model, by the names that checkpoints in Hugging Face's layout give them. */

import type { Family, LayerTensorName } from "./families/family.ts";
import type { HeadOrder, LayerTensors, ModelSpec, ModelTensors, TensorSpec } from "./spec.ts";

/** Llama's names, which call the norm before the feed-forward block after what is before it; a family says where its own differ. */
const NAMES: Readonly<Record<LayerTensorName, string>> = {
  inputNorm: "input_layernorm.weight",
  query: "self_attn.q_proj.weight",
  key: "self_attn.k_proj.weight",
  value: "self_attn.v_proj.weight",
  queryBias: "self_attn.q_proj.bias",
  keyBias: "self_attn.k_proj.bias",
  valueBias: "self_attn.v_proj.bias",
  queryNorm: "self_attn.q_norm.weight",
  keyNorm: "self_attn.k_norm.weight",
  output: "self_attn.o_proj.weight",
  outputBias: "self_attn.o_proj.bias",
  postAttentionNorm: "post_attention_layernorm.weight",
  preFeedforwardNorm: "post_attention_layernorm.weight",
  gate: "mlp.gate_proj.weight",
  up: "mlp.up_proj.weight",
  down: "mlp.down_proj.weight",
  gateBias: "mlp.gate_proj.bias",
  upBias: "mlp.up_proj.bias",
  downBias: "mlp.down_proj.bias",
  postFeedforwardNorm: "post_feedforward_layernorm.weight",
};

/** Tensors that a layer may have or not. */
export type BiasName = Extract<LayerTensorName, `${string}Bias`>;

/** Whether a layer has a bias. @param name the tensor's whole name */
export type HasBias = (key: BiasName, name: string) => boolean;

/** @param interleaved queries' and keys' rows have the elements of a pair side by side, as llama.cpp writes them */
export function tensorsOf(family: Family, spec: ModelSpec, hasBias: HasBias, interleaved = false): ModelTensors {
  const { vocabSize, hiddenSize } = spec;
  const tensors: ModelTensors = {
    embedding: { name: "model.embed_tokens.weight", shape: [vocabSize, hiddenSize] },
    layers: Array.from({ length: spec.layers }, (_, index) =>
      layerTensors(family, spec, `model.layers.${index}.`, hasBias, headOrderOf(spec, index, interleaved)),
    ),
    finalNorm: { name: "model.norm.weight", shape: [hiddenSize] },
  };
  if (!spec.tieWordEmbeddings) tensors.head = { name: "lm_head.weight", shape: [vocabSize, hiddenSize] };
  return tensors;
}

/** The order of a layer's query and key elements, where it is not the engine's. */
function headOrderOf({ attention, headDim }: ModelSpec, layer: number, interleaved: boolean): HeadOrder | undefined {
  const rotaryDim = attention[layer]!.rope?.rotaryDim ?? headDim;
  return interleaved || rotaryDim < headDim ? { headDim, rotaryDim, interleaved } : undefined;
}

/**
 * The tensors of a further decoder layer that stands behind layer `exitLayer - 1`, in Hugging Face's layout: as the layer that
 * comes next has them, each called `block.` and its name.
 * @param next that layer
 */
export function blockTensors(family: Family, spec: ModelSpec, exitLayer: number, next: LayerTensors): LayerTensors {
  const hasBias = (key: BiasName) => next[key] !== undefined;
  return layerTensors(family, spec, "block.", hasBias, headOrderOf(spec, exitLayer, false));
}

function layerTensors(
  family: Family,
  spec: ModelSpec,
  prefix: string,
  hasBias: HasBias,
  headOrder?: HeadOrder,
): LayerTensors {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, norms, headNorm } = spec;
  const names = { ...NAMES, ...family.tensors };
  const tensor = <K extends LayerTensorName>(key: K, ...shape: number[]) =>
    ({ [key]: { name: names[key], shape } }) as unknown as Record<K, TensorSpec>;
  const bias = (key: BiasName, size: number) => hasBias(key, prefix + names[key]) && tensor(key, size);
  const [queries, keys] = [heads * headDim, kvHeads * headDim];
  const rotated = (spec: TensorSpec): TensorSpec => (headOrder ? { ...spec, headOrder } : spec);
  const normOf = (size: number) => (headNorm === "row" ? size : headDim);
  const { fused } = family;
  const qkv = fused && (["query", "key", "value"] as const);
  const all: LayerTensors = {
    ...(norms !== "after" && tensor("inputNorm", hiddenSize)),
    ...tensor("query", queries, hiddenSize),
    ...tensor("key", keys, hiddenSize),
    ...tensor("value", keys, hiddenSize),
    ...(qkv && slices(fused.qkv, hiddenSize, { query: queries, key: keys, value: keys })),
    ...bias("queryBias", queries),
    ...bias("keyBias", keys),
    ...bias("valueBias", keys),
    ...(headNorm && { ...tensor("queryNorm", normOf(queries)), ...tensor("keyNorm", normOf(keys)) }),
    ...tensor("output", hiddenSize, queries),
    ...bias("outputBias", hiddenSize),
    ...(norms !== "before" && tensor("postAttentionNorm", hiddenSize)),
    ...(norms !== "after" && tensor("preFeedforwardNorm", hiddenSize)),
    ...tensor("gate", intermediateSize, hiddenSize),
    ...tensor("up", intermediateSize, hiddenSize),
    ...tensor("down", hiddenSize, intermediateSize),
    ...(fused && slices(fused.gateUp, hiddenSize, { gate: intermediateSize, up: intermediateSize })),
    ...bias("gateBias", intermediateSize),
    ...bias("upBias", intermediateSize),
    ...bias("downBias", hiddenSize),
    ...(norms !== "before" && tensor("postFeedforwardNorm", hiddenSize)),
  };
  for (const key of ["query", "key", "queryBias", "keyBias", "queryNorm", "keyNorm"] as const) {
    if (all[key]) all[key] = rotated(all[key]);
  }
  return prefixed(prefix, all);
}

/** Matrices that lie one after the other in one tensor: `rows` of each. */
function slices<K extends string>(name: string, inputSize: number, rows: Record<K, number>): Record<K, TensorSpec> {
  const total = Object.values<number>(rows).reduce((sum, count) => sum + count, 0);
  let firstRow = 0;
  const entries = Object.entries<number>(rows).map(([key, count]) => {
    const slice = { firstRow, rows: count };
    firstRow += count;
    return [key, { name, shape: [total, inputSize], slice }];
  });
  return Object.fromEntries(entries) as Record<K, TensorSpec>;
}

function prefixed(prefix: string, tensors: LayerTensors): LayerTensors {
  const entries = Object.entries(tensors).map(([key, tensor]: [string, TensorSpec]) => [
    key,
    { ...tensor, name: prefix + tensor.name },
  ]);
  return Object.fromEntries(entries) as unknown as LayerTensors;
}
