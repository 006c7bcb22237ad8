/**
 * The file of an exit adapter (docs/exit-adapters.md): a small safetensors file whose metadata says for which model it was made.
 *
 * Opening it checks all that using it relies on. What its numbers are is not checked: no drafter can change the text.
 */

import { FileFormatError, InputError, UnsupportedModelError } from "../errors.ts";
import { type Fields, quote } from "../json.ts";
import { FAMILIES } from "../model/families/index.ts";
import type { LayerTensors, ModelSpec, TensorSpec } from "../model/spec.ts";
import { blockTensors } from "../model/tensors.ts";
import { FLOATS, findTensor } from "./find_tensor.ts";
import { encodeSafetensors, readSafetensors, type StoredTensor, type TensorBytes } from "./safetensors.ts";
import type { Source, WeightTensor } from "./source.ts";

const FORMAT = "layerleap-exit-adapter";
const VERSION = "1";
const HOT_IDS = "hot_ids";

/** `block`: a decoder layer and a linear map. `linear`: a linear map of the normed hidden state. */
export const EXIT_ADAPTER_KINDS = ["block", "linear"] as const;
export type ExitAdapterKind = (typeof EXIT_ADAPTER_KINDS)[number];

/** What the map of each kind is called. */
const MAP_NAMES: Readonly<Record<ExitAdapterKind, string>> = { block: "post", linear: "map" };

/** What an adapter is for, and where from. */
export interface ExitAdapterInfo {
  kind: ExitAdapterKind;
  /** Layers before it. */
  exitLayer: number;
  /** What its file calls the model that it was made for. */
  baseModel: string;
  /** How many ids it chooses among; undefined: all. */
  hotIds: number | undefined;
  /** Number of weights, without those of the base that it uses. */
  parameters: number;
  /** Bytes of these on the GPU: what a draft reads beside layers and head. */
  bytes: number;
  /** Share of positions where it chose what the whole model did, where that was measured on other text than it was made from. */
  agreement: number | undefined;
}

/** The tensors of an adapter. */
export interface ExitAdapterTensors {
  block?: LayerTensors;
  map: TensorSpec;
  mapBias: TensorSpec;
}

/** An opened file. */
export interface ExitAdapterFile {
  /** For messages. */
  name: string;
  info: Omit<ExitAdapterInfo, "bytes">;
  tensors: ExitAdapterTensors;
  /** The block's norms are stored less one. */
  normsAddOne: boolean;
  /** Ascending. */
  hotIds: Uint32Array<ArrayBuffer> | undefined;
  tensor(tensor: TensorSpec): WeightTensor;
}

/** The model that an adapter is opened for. */
export interface AdapterBase {
  spec: ModelSpec;
  /** The tensors of its layers. */
  layers: readonly LayerTensors[];
  /** Hex SHA-256 of its final norm's weights in f32. */
  fingerprint: string;
}

/**
 * Opens and checks a file for a model.
 * @throws InputError when it was made for another; FileFormatError when it is damaged; UnsupportedModelError when it is of another kind
 * or version; SourceError; the signal's reason
 */
export async function openExitAdapter(
  source: Source,
  base: AdapterBase,
  signal?: AbortSignal,
): Promise<ExitAdapterFile> {
  const { tensors: stored, metadata } = await readSafetensors(source, signal);
  const kind = readKind(metadata);
  const exitLayer = integerOf(metadata, "exit_layer");
  requireBase(metadata, base);
  const { spec, layers } = base;
  if (exitLayer < 1 || exitLayer >= spec.layers) {
    throw metadata.error("exit_layer", `an integer from 1 to ${spec.layers - 1}`);
  }
  const family = FAMILIES.find(({ modelType }) => modelType === spec.family)!;
  const { hiddenSize } = spec;
  const name = MAP_NAMES[kind];
  const tensors: ExitAdapterTensors = {
    ...(kind === "block" && { block: blockTensors(family, spec, exitLayer, layers[exitLayer]!) }),
    map: { name: `${name}.weight`, shape: [hiddenSize, hiddenSize] },
    mapBias: { name: `${name}.bias`, shape: [hiddenSize] },
  };
  const holder = {
    ...{ file: source.name, settings: "the base model", types: FLOATS, nameOf: (tensor: string) => tensor },
    find: (tensor: string) => stored.get(tensor),
  };
  const needed = [...Object.values(tensors.block ?? {}), tensors.map, tensors.mapBias] as TensorSpec[];
  const found = [...new Set(needed.map((tensor) => findTensor(holder, tensor)))];
  const hotIds = await readHotIds(stored.get(HOT_IDS), spec.vocabSize, signal);
  return {
    name: source.name,
    info: {
      ...{ kind, exitLayer, hotIds: hotIds?.length },
      baseModel: metadata.get("base_model") === undefined ? "" : metadata.string("base_model"),
      parameters: found.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
      agreement: agreementOf(metadata),
    },
    ...{ tensors, hotIds, normsAddOne: family.normsAddOne === true },
    tensor: (tensor) => findTensor(holder, tensor),
  };
}

function readKind(metadata: Fields): ExitAdapterKind {
  const { file } = metadata;
  const unsupported = (field: string, expected: string) =>
    new UnsupportedModelError({ file, field: metadata.name(field), found: quote(metadata.get(field)), expected });
  if (metadata.get("format") !== FORMAT) throw metadata.error("format", `"${FORMAT}"`);
  if (metadata.get("version") !== VERSION) throw unsupported("version", `"${VERSION}"`);
  const kind = EXIT_ADAPTER_KINDS.find((each) => each === metadata.get("kind"));
  if (!kind) throw unsupported("kind", EXIT_ADAPTER_KINDS.map((each) => `"${each}"`).join(" or "));
  return kind;
}

/** Metadata are texts. */
function integerOf(metadata: Fields, key: string): number {
  const text = metadata.get(key);
  if (typeof text !== "string" || !/^\d{1,15}$/.test(text)) throw metadata.error(key, "an integer in a string");
  return Number(text);
}

function agreementOf(metadata: Fields): number | undefined {
  const text = metadata.get("agreement");
  if (text === undefined) return undefined;
  const share = Number(text);
  if (!(share >= 0 && share <= 1)) throw metadata.error("agreement", "a number from 0 to 1 in a string");
  return share;
}

function requireBase(metadata: Fields, { spec, fingerprint }: AdapterBase): void {
  const { file } = metadata;
  const mismatch = (key: string, found: string | number, expected: string | number) => {
    if (found === expected) return;
    throw new InputError({
      ...{ file, field: metadata.name(key), found: String(found) },
      expected: `${expected}, as the model that it is given to: it was made for another`,
    });
  };
  mismatch("base_model_type", metadata.string("base_model_type"), spec.family);
  mismatch("num_hidden_layers", integerOf(metadata, "num_hidden_layers"), spec.layers);
  mismatch("hidden_size", integerOf(metadata, "hidden_size"), spec.hiddenSize);
  mismatch("vocab_size", integerOf(metadata, "vocab_size"), spec.vocabSize);
  if (metadata.get("base_fingerprint") !== undefined) {
    mismatch("base_fingerprint", metadata.string("base_fingerprint"), fingerprint);
  }
}

async function readHotIds(
  tensor: StoredTensor | undefined,
  vocabSize: number,
  signal?: AbortSignal,
): Promise<Uint32Array<ArrayBuffer> | undefined> {
  if (!tensor) return undefined;
  const { source, dtype, shape, offset, byteLength } = tensor;
  const error = (found: string, expected: string) =>
    new FileFormatError({ file: source.name, field: HOT_IDS, found, expected });
  const [count = 0] = shape;
  if ((dtype !== "I32" && dtype !== "U32") || shape.length !== 1 || count < 1 || count > vocabSize) {
    throw error(`${dtype} of shape ${quote(shape)}`, `I32 of shape [n], n from 1 to ${vocabSize}`);
  }
  const bytes = await source.read(offset, byteLength, signal);
  const view = new DataView(bytes.buffer, bytes.byteOffset, byteLength);
  const ids = Uint32Array.from({ length: count }, (_, i) => view.getUint32(4 * i, true));
  for (const [i, id] of ids.entries()) {
    if (id >= vocabSize || (i > 0 && id <= ids[i - 1]!)) {
      throw error(`${id} at ${i}${i > 0 ? `, behind ${ids[i - 1]}` : ""}`, `ascending ids below ${vocabSize}`);
    }
  }
  return ids;
}

/** A fitted map. */
export interface LinearAdapter {
  exitLayer: number;
  /** `[hiddenSize][hiddenSize]`, row-major: an output a row. */
  weight: Float32Array<ArrayBuffer>;
  /** `[hiddenSize]` */
  bias: Float32Array<ArrayBuffer>;
  /** On text that it was not fitted on. */
  agreement: number;
  /** What it was fitted on. */
  tokens: number;
}

/** The file of a fitted map. @param baseModel what the model is called */
export function encodeLinearAdapter(
  { exitLayer, weight, bias, agreement, tokens }: LinearAdapter,
  { spec, fingerprint }: AdapterBase,
  baseModel: string,
): Uint8Array<ArrayBuffer> {
  const tensor = (numbers: Float32Array<ArrayBuffer>, ...shape: number[]): TensorBytes => ({
    ...{ dtype: "F32", shape },
    bytes: new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength),
  });
  const { hiddenSize } = spec;
  const name = MAP_NAMES.linear;
  return encodeSafetensors(
    { [`${name}.weight`]: tensor(weight, hiddenSize, hiddenSize), [`${name}.bias`]: tensor(bias, hiddenSize) },
    {
      ...{ format: FORMAT, version: VERSION, kind: "linear" },
      ...{ base_model: baseModel, base_model_type: spec.family, base_fingerprint: fingerprint },
      exit_layer: String(exitLayer),
      num_hidden_layers: String(spec.layers),
      hidden_size: String(hiddenSize),
      vocab_size: String(spec.vocabSize),
      agreement: agreement.toFixed(4),
      tokens: String(tokens),
    },
  );
}
