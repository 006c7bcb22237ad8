/** `config.json` and `generation_config.json` -> `ModelSpec` and the tensors it implies. Keys keep Hugging Face's names. */

import { UnsupportedModelError } from "../errors.ts";
import { Fields, quote } from "../json.ts";
import type { Family } from "./families/family.ts";
import { llama } from "./families/llama.ts";
import type { LayerSkipSpec, LayerTensors, ModelSpec, ModelTensors, TensorSpec } from "./spec.ts";

const FAMILIES: readonly Family[] = [llama];

/** Far above any model there is. Keeps the products of two sizes exact, and a damaged file from asking for the moon. */
const MAX_SIZE = 2 ** 24;
const MAX_LAYERS = 1024;
/** Kernels read rows as vec4. */
const VECTOR = 4;
/** A head is two halves that RoPE rotates together, each of whole vectors; a larger one would not fit the kernels' tiles. */
const HEAD_VECTOR = 8;
const MAX_HEAD_DIM = 256;

/** The architecture of a model, and every tensor it needs with its shape. */
export interface ModelConfig {
  spec: ModelSpec;
  tensors: ModelTensors;
}

/**
 * Reads a model's architecture.
 * @param config parsed `config.json`
 * @param generationConfig parsed `generation_config.json`, undefined where there is none
 * @param file, generationFile names for messages
 * @throws FileFormatError when a field is missing or contradicts another; UnsupportedModelError when the model is sound but
 * needs what this version does not have
 */
export function readModelSpec(
  config: unknown,
  generationConfig: unknown,
  file: string,
  generationFile = "generation_config.json",
): ModelConfig {
  const fields = new Fields(config, file);
  const family = readFamily(fields);
  const heads = fields.integer("num_attention_heads", { min: 1, max: MAX_SIZE });
  const layers = fields.integer("num_hidden_layers", { min: 1, max: MAX_LAYERS });
  const vocabSize = fields.integer("vocab_size", { min: 1, max: MAX_SIZE });
  const hiddenSize = readVectors(fields, "hidden_size");
  const generation = generationConfig == null ? undefined : new Fields(generationConfig, generationFile);
  const spec: ModelSpec = {
    family: family.modelType,
    vocabSize,
    hiddenSize,
    intermediateSize: readVectors(fields, "intermediate_size"),
    layers,
    heads,
    kvHeads: readKvHeads(fields, heads),
    headDim: readHeadDim(fields, hiddenSize, heads),
    maxPositionEmbeddings: fields.integer("max_position_embeddings", { min: 1, max: MAX_SIZE }),
    rmsNormEps: fields.positive("rms_norm_eps", 1e-6),
    ropeTheta: readRopeTheta(fields),
    tieWordEmbeddings: fields.boolean("tie_word_embeddings", false),
    eosTokenIds: [...new Set([fields, generation].flatMap((from) => (from ? readEosTokenIds(from, vocabSize) : [])))],
  };
  const layerSkip = readLayerSkip(fields, layers);
  if (layerSkip) spec.layerSkip = layerSkip;
  return { spec, tensors: tensorsOf(family, spec) };
}

/** The family that `model_type` names, once everything that would change its arithmetic is ruled out. */
function readFamily(fields: Fields): Family {
  const modelType = fields.string("model_type");
  const family = FAMILIES.find((candidate) => candidate.modelType === modelType);
  if (!family) throw unsupported(fields, "model_type", FAMILIES.map(({ modelType }) => modelType).join(" or "));
  for (const [key, only] of Object.entries(family.requires)) {
    const value = fields.get(key) ?? only;
    if (typeof value !== typeof only) throw fields.error(key, `a ${typeof only}`);
    if (value !== only) throw unsupported(fields, key, quote(only));
  }
  if (fields.get("quantization_config") !== undefined) {
    throw unsupported(fields, "quantization_config", "none: weights in F32, F16 or BF16");
  }
  return family;
}

function unsupported(fields: Fields, key: string, expected: string): UnsupportedModelError {
  const found = quote(fields.get(key));
  return new UnsupportedModelError({ file: fields.file, field: fields.name(key), found, expected });
}

/** A size that kernels walk in vectors. */
function readVectors(fields: Fields, key: string, vector = VECTOR, max = MAX_SIZE): number {
  const size = fields.integer(key, { min: 1, max: MAX_SIZE });
  if (size % vector !== 0) throw unsupported(fields, key, `a multiple of ${vector}`);
  if (size > max) throw unsupported(fields, key, `at most ${max}`);
  return size;
}

function readKvHeads(fields: Fields, heads: number): number {
  const kvHeads = fields.integer("num_key_value_heads", { min: 1, max: heads, fallback: heads });
  if (heads % kvHeads !== 0) throw fields.error("num_key_value_heads", `a divisor of the ${heads} attention heads`);
  return kvHeads;
}

function readHeadDim(fields: Fields, hiddenSize: number, heads: number): number {
  if (fields.get("head_dim") !== undefined) return readVectors(fields, "head_dim", HEAD_VECTOR, MAX_HEAD_DIM);
  if (hiddenSize % heads !== 0) throw fields.error("hidden_size", `a multiple of the ${heads} attention heads`);
  const headDim = hiddenSize / heads;
  if (headDim % HEAD_VECTOR !== 0 || headDim > MAX_HEAD_DIM) {
    const expected = `attention heads of a multiple of ${HEAD_VECTOR} up to ${MAX_HEAD_DIM}, not ${headDim}`;
    throw unsupported(fields, "hidden_size", expected);
  }
  return headDim;
}

/**
 * `rope_theta` stands on top (transformers 4) or in `rope_parameters` (transformers 5, which lets that one win). Scaling
 * stands in `rope_scaling` or `rope_parameters`, its type under `rope_type` or, in older files, `type`.
 */
function readRopeTheta(fields: Fields): number {
  const parameters = fields.object("rope_parameters");
  for (const rope of [parameters, fields.object("rope_scaling")]) {
    if (!rope) continue;
    for (const key of ["rope_type", "type"]) {
      if (rope.get(key) !== undefined && rope.string(key) !== "default") throw unsupported(rope, key, '"default"');
    }
    // Scaling by a factor alone, without a type, is what the oldest files mean by "linear".
    if (rope.get("factor") !== undefined && rope.get("factor") !== 1) throw unsupported(rope, "factor", "no scaling");
    if ((rope.get("partial_rotary_factor") ?? 1) !== 1) throw unsupported(rope, "partial_rotary_factor", "1");
  }
  return parameters?.get("rope_theta") === undefined
    ? fields.positive("rope_theta", 10000)
    : parameters.positive("rope_theta");
}

/** `eos_token_id`: one id, several, or none. */
function readEosTokenIds(fields: Fields, vocabSize: number): number[] {
  const value = fields.get("eos_token_id");
  if (value === undefined) return [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  if (!ids.every((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < vocabSize)) {
    throw fields.error("eos_token_id", `ids from 0 to ${vocabSize - 1}`);
  }
  return ids;
}

function readLayerSkip(fields: Fields, layers: number): LayerSkipSpec | undefined {
  const recipe = fields.object("layerskip");
  return (
    recipe && {
      exitLayer: recipe.integer("exit_layer", { min: 1, max: layers - 1 }),
      draftLength: recipe.integer("num_speculations", { min: 1, max: MAX_SIZE }),
    }
  );
}

function tensorsOf({ tensors: names }: Family, spec: ModelSpec): ModelTensors {
  const { vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim } = spec;
  const shapes: Record<keyof LayerTensors, readonly number[]> = {
    inputNorm: [hiddenSize],
    query: [heads * headDim, hiddenSize],
    key: [kvHeads * headDim, hiddenSize],
    value: [kvHeads * headDim, hiddenSize],
    output: [hiddenSize, heads * headDim],
    postAttentionNorm: [hiddenSize],
    gate: [intermediateSize, hiddenSize],
    up: [intermediateSize, hiddenSize],
    down: [hiddenSize, intermediateSize],
  };
  const layer = (index: number): LayerTensors => {
    const tensor = (key: keyof LayerTensors): TensorSpec => ({
      name: `${names.layers}.${index}.${names.layer[key]}`,
      shape: shapes[key],
    });
    return {
      inputNorm: tensor("inputNorm"),
      query: tensor("query"),
      key: tensor("key"),
      value: tensor("value"),
      output: tensor("output"),
      postAttentionNorm: tensor("postAttentionNorm"),
      gate: tensor("gate"),
      up: tensor("up"),
      down: tensor("down"),
    };
  };
  const tensors: ModelTensors = {
    embedding: { name: names.embedding, shape: [vocabSize, hiddenSize] },
    layers: Array.from({ length: spec.layers }, (_, index) => layer(index)),
    finalNorm: { name: names.finalNorm, shape: [hiddenSize] },
  };
  if (!spec.tieWordEmbeddings) tensors.head = { name: names.head, shape: [vocabSize, hiddenSize] };
  return tensors;
}
