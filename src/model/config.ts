/** `config.json` and `generation_config.json` -> `ModelSpec` and the tensors it implies. Keys keep Hugging Face's names. */

import { UnsupportedModelError } from "../errors.ts";
import { Fields, quote } from "../json.ts";
import type { Family } from "./families/family.ts";
import { FAMILIES } from "./families/index.ts";
import { readLayerAttention } from "./layer_attention.ts";
import { isInterpreted } from "./settings.ts";
import type { Activation, LayerSkipSpec, ModelSpec, ModelTensors } from "./spec.ts";
import { type BiasName, tensorsOf } from "./tensors.ts";

const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  gelu_pytorch_tanh: "gelu_tanh",
};

/** Far above any model there is. Keeps the products of two sizes exact, and a damaged file from asking for the moon. */
const MAX_SIZE = 2 ** 24;
const MAX_LAYERS = 1024;
/** Kernels read rows as vec4. */
const VECTOR = 4;
/** A head is two halves that RoPE rotates together, each of whole vectors; a larger one would not fit the kernels' tiles. */
const HEAD_VECTOR = 8;
const MAX_HEAD_DIM = 256;

/** Models that see as well: the family of their text part, whose settings stand in `text_config`. */
const WITH_TEXT_PART: Readonly<Record<string, string>> = { gemma3: "gemma3_text" };

/** The architecture of a model, and every tensor it needs with its shape. */
export interface ModelConfig {
  spec: ModelSpec;
  tensors: ModelTensors;
  /** It is the text part of a model that does more: its tensors' names have a prefix. */
  isPart?: true;
}

/** What a container of weights does differently from a checkpoint in Hugging Face's layout. */
export interface Container {
  /** Rows of queries and keys have the elements of a pair side by side. */
  interleavedRotary?: boolean;
  /** Norms are stored as they are multiplied with, where Hugging Face stores them less one. */
  normsIncludeOne?: boolean;
  /** Tells by their presence which products have biases, where no setting does. */
  hasTensor?: (name: string) => boolean;
  /** What a setting is called there, for messages. */
  settingName?: (setting: string) => string;
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
  container: Container = {},
): ModelConfig {
  const whole = new Fields(config, file, "", container.settingName);
  const part = textPart(whole);
  const said = part ?? whole;
  const family = readFamily(said, part && WITH_TEXT_PART[whole.string("model_type")]);
  const settings = { ...family.defaults, ...Object.fromEntries(said.entries()) };
  const fields = new Fields(settings, file, said.path, container.settingName);
  const sources = part ? [whole, fields] : [fields];
  sources.forEach(requireUnquantised);
  requireArithmetic(fields, family);
  const heads = fields.integer("num_attention_heads", { min: 1, max: MAX_SIZE });
  const layers = fields.integer("num_hidden_layers", { min: 1, max: MAX_LAYERS });
  const vocabSize = fields.integer("vocab_size", { min: 1, max: MAX_SIZE });
  const hiddenSize = readVectors(fields, "hidden_size");
  const headDim = readHeadDim(fields, hiddenSize, heads);
  const limit = fields.integer("max_position_embeddings", { min: 1, max: MAX_SIZE });
  const generation = generationConfig == null ? undefined : new Fields(generationConfig, generationFile);
  const { attention, maxPositionEmbeddings } = readLayerAttention(fields, family, {
    layers,
    headDim,
    maxPositionEmbeddings: limit,
  });
  const spec: ModelSpec = {
    family: family.modelType,
    vocabSize,
    hiddenSize,
    intermediateSize: readVectors(fields, "intermediate_size"),
    layers,
    heads,
    kvHeads: readKvHeads(fields, heads),
    headDim,
    maxPositionEmbeddings: Math.min(maxPositionEmbeddings, MAX_SIZE),
    rmsNormEps: fields.positive("rms_norm_eps", 1e-6),
    activation: readActivation(fields),
    norms: family.norms,
    ...(family.headNorm && { headNorm: family.headNorm }),
    normsAddOne: family.normsAddOne === true && !container.normsIncludeOne,
    attention,
    attentionScale: headDim ** -0.5,
    embeddingScale: 1,
    residualScale: 1,
    logitScale: 1,
    ...family.numbers?.(fields, { hiddenSize }),
    tieWordEmbeddings: fields.boolean("tie_word_embeddings", false),
    eosTokenIds: [
      ...new Set([...sources, generation].flatMap((from) => (from ? readEosTokenIds(from, vocabSize) : []))),
    ],
  };
  const layerSkip = readLayerSkip(fields, layers);
  if (layerSkip) spec.layerSkip = layerSkip;
  const { hasTensor, interleavedRotary } = container;
  const biases = readBiases(fields, family);
  const hasBias = (key: BiasName, name: string) => hasTensor?.(name) ?? biases[BIAS_GROUPS[key]];
  return { spec, tensors: tensorsOf(family, spec, hasBias, interleavedRotary), ...(part && { isPart: true }) };
}

/** The settings of the part that generates text; undefined where they are all. */
function textPart(whole: Fields): Fields | undefined {
  const modelType = whole.get("model_type");
  if (typeof modelType !== "string" || !Object.hasOwn(WITH_TEXT_PART, modelType)) return undefined;
  const part = whole.object("text_config");
  if (!part) throw whole.error("text_config", "an object, the settings of the text part");
  return part;
}

/**
 * The family that `model_type` names.
 * @param ofPart the family of a part that does not name its own
 */
function readFamily(fields: Fields, ofPart?: string): Family {
  const modelType =
    ofPart !== undefined && fields.get("model_type") === undefined ? ofPart : fields.string("model_type");
  const family = FAMILIES.find((candidate) => candidate.modelType === modelType);
  if (family) return family;
  const known = FAMILIES.map((candidate) => candidate.modelType);
  if (ofPart === undefined) known.push(...Object.keys(WITH_TEXT_PART));
  const strange = fields
    .entries()
    .map(([key]) => key)
    .filter((key) => !isInterpreted(key));
  const found = `${quote(modelType)}${strange.length > 0 ? ` with settings that no known family has (${quoteList(strange)})` : ""}`;
  throw new UnsupportedModelError({
    file: fields.file,
    field: fields.name("model_type"),
    found,
    expected: `one of ${known.join(", ")}`,
  });
}

const STRANGE_SETTINGS = 12;

function quoteList(keys: readonly string[]): string {
  const shown = keys.slice(0, STRANGE_SETTINGS).map((key) => key.slice(0, 40));
  return shown.join(", ") + (keys.length > shown.length ? `, and ${keys.length - shown.length} more` : "");
}

/** Rules out what would change the arithmetic in a way that the engine does not have. */
function requireArithmetic(fields: Fields, family: Family): void {
  for (const [key, only] of Object.entries(family.requires ?? {})) {
    const value = fields.get(key) ?? only;
    if (typeof value !== typeof only) throw fields.error(key, `a ${typeof only}`);
    if (value !== only) throw unsupported(fields, key, quote(only));
  }
}

function requireUnquantised(fields: Fields): void {
  if (fields.get("quantization_config") === undefined) return;
  throw unsupported(fields, "quantization_config", "none: weights in F32, F16 or BF16, or a GGUF file");
}

/** `hidden_activation`, as Gemma spells it, or `hidden_act`. */
function readActivation(fields: Fields): Activation {
  const key = fields.get("hidden_activation") === undefined ? "hidden_act" : "hidden_activation";
  const name = fields.get(key) ?? "silu";
  if (typeof name !== "string") throw fields.error(key, "a string");
  if (!Object.hasOwn(ACTIVATIONS, name))
    throw unsupported(fields, key, Object.keys(ACTIVATIONS).map(quote).join(" or "));
  return ACTIVATIONS[name]!;
}

/** Which setting says whether a bias is there. */
const BIAS_GROUPS: Readonly<Record<BiasName, "qkv" | "output" | "mlp">> = {
  queryBias: "qkv",
  keyBias: "qkv",
  valueBias: "qkv",
  outputBias: "output",
  gateBias: "mlp",
  upBias: "mlp",
  downBias: "mlp",
};

function readBiases(fields: Fields, { biases = {} }: Family): Record<"qkv" | "output" | "mlp", boolean> {
  const read = (rule: string | true | undefined) =>
    typeof rule === "string" ? fields.boolean(rule, false) : rule === true;
  return { qkv: read(biases.qkv), output: read(biases.output), mlp: read(biases.mlp) };
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
