/**
 * A model in Hugging Face's layout: `config.json`, `tokenizer.json` and weights in safetensors, in one file or in shards
 * that an index names.
 *
 * Opening it checks everything a load relies on, down to the shape and type of each tensor, so that later nothing is left
 * half made.
 */

import { FileFormatError, SourceError, UnsupportedModelError } from "../errors.ts";
import { Fields, parseJson, quote } from "../json.ts";
import { readModelSpec } from "../model/config.ts";
import type { ModelSpec, ModelTensors, TensorSpec } from "../model/spec.ts";
import { isWeight, readSafetensorsHeader, type StoredTensor, type TensorInfo } from "./safetensors.ts";
import type { Folder, Source } from "./source.ts";

/** An opened checkpoint. Its files stay open until `close()`. */
export interface Checkpoint {
  /** The folder's name. */
  readonly name: string;
  readonly spec: ModelSpec;
  readonly tensors: ModelTensors;
  /** Name of `tokenizer.json` for messages. */
  readonly tokenizerFile: string;
  /** Parsed `tokenizer.json`. */
  readonly tokenizerJson: unknown;
  /** Parsed `tokenizer_config.json`; an empty object where there is none. */
  readonly tokenizerConfig: unknown;
  /** Elements of all tensors the model needs. */
  readonly parameters: number;
  /** Bytes of all tensors the model needs, as stored. */
  readonly weightBytes: number;
  /**
   * Where a tensor lies.
   * @throws FileFormatError when it is missing or has another shape; UnsupportedModelError when it is neither F32 nor F16 nor
   * BF16. Neither happens for the tensors of `tensors`, which were checked on opening.
   */
  tensor(tensor: TensorSpec): TensorInfo;
  /** Closes the weight files. */
  close(): Promise<void>;
}

const CONFIG = "config.json";
const GENERATION_CONFIG = "generation_config.json";
const TOKENIZER = "tokenizer.json";
const TOKENIZER_CONFIG = "tokenizer_config.json";
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Above any tokenizer or index there is, below what a JavaScript string holds. */
const MAX_JSON_BYTES = 256 * 2 ** 20;

const RELOAD = "download the model again, with all its files";

/**
 * Opens and checks the model in `folder`.
 * @throws SourceError when a file is missing or cannot be read; FileFormatError when one is damaged or contradicts another;
 * UnsupportedModelError when this version cannot run the model; the signal's reason. Every file opened by then is closed.
 */
export async function openCheckpoint(folder: Folder, signal?: AbortSignal): Promise<Checkpoint> {
  const [config, generationConfig, tokenizerJson, tokenizerConfig] = await all([
    readJson(folder, CONFIG, signal),
    readOptionalJson(folder, GENERATION_CONFIG, signal),
    readJson(folder, TOKENIZER, signal),
    readOptionalJson(folder, TOKENIZER_CONFIG, signal),
  ]);
  if (!config) throw missing(CONFIG, folder);
  const { spec, tensors } = readModelSpec(config.value, generationConfig?.value, config.name, generationConfig?.name);
  if (!tokenizerJson) throw missing(TOKENIZER, folder);

  const weights = await openWeights(folder, signal);
  return closingOnFailure(weights.sources, async () => {
    const tensor = (wanted: TensorSpec) => findTensor(weights, wanted);
    const needed = [...new Set(allTensors(tensors).map(tensor))]; // slices of one tensor count once
    signal?.throwIfAborted();
    return {
      name: folder.name,
      spec,
      tensors,
      tokenizerFile: tokenizerJson.name,
      tokenizerJson: tokenizerJson.value,
      tokenizerConfig: tokenizerConfig?.value ?? {},
      parameters: needed.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
      weightBytes: needed.reduce((sum, { byteLength }) => sum + byteLength, 0),
      tensor,
      close: () => closeAll(weights.sources),
    };
  });
}

/** The weight files and what lies in them. */
interface Weights {
  /** The file that lists all tensors: the weights themselves or the index of the shards. */
  file: string;
  sources: Source[];
  tensors: ReadonlyMap<string, StoredTensor>;
}

async function openWeights(folder: Folder, signal?: AbortSignal): Promise<Weights> {
  const single = await folder.open(WEIGHTS, signal);
  if (single) {
    const tensors = await closingOnFailure([single], () => readSafetensorsHeader(single, signal));
    return { file: single.name, sources: [single], tensors };
  }
  const index = await readJson(folder, INDEX, signal);
  if (!index) throw missing(WEIGHTS, folder);
  const shardOf = readWeightMap(index);
  const sources: Source[] = [];
  const tensors = await closingOnFailure(sources, async () => {
    const openShard = async (shard: string) => {
      const source = await folder.open(shard, signal);
      if (!source)
        throw new SourceError(shard, `${index.name} names it, but ${folder.name} has no such file: ${RELOAD}`);
      sources.push(source);
      return [shard, { name: source.name, tensors: await readSafetensorsHeader(source, signal) }] as const;
    };
    const shards = new Map(await all([...new Set(shardOf.values())].map(openShard)));
    return new Map(
      [...shardOf].map(([name, shard]) => {
        const { name: file, tensors } = shards.get(shard)!;
        const tensor = tensors.get(name);
        const expected = `a tensor, as ${index.name} says`;
        if (!tensor) throw new FileFormatError({ file, field: name, found: "no such tensor", expected });
        return [name, tensor];
      }),
    );
  });
  return { file: index.name, sources, tensors };
}

/** `weight_map` of an index: the file each tensor lies in. */
function readWeightMap({ name, value }: JsonFile): Map<string, string> {
  const weightMap = new Fields(value, name).object("weight_map") ?? new Fields(undefined, name, "weight_map");
  return new Map(
    weightMap.entries().map(([tensor, shard]) => {
      // The index came with the model and must not reach for files outside its folder.
      if (typeof shard !== "string" || !/^\w[\w.-]*\.safetensors$/.test(shard)) {
        throw weightMap.error(tensor, "the name of a .safetensors file in the same folder");
      }
      return [tensor, shard];
    }),
  );
}

/** A tensor of the kind the model needs, or the reason why there is none. */
function findTensor({ file, tensors }: Weights, { name, shape }: TensorSpec): TensorInfo {
  const found = tensors.get(name);
  if (!found) {
    const expected = `a tensor of shape ${quote(shape)}`;
    throw new FileFormatError({ file, field: name, found: "no such tensor", expected });
  }
  const holder = found.source.name;
  if (found.shape.length !== shape.length || !found.shape.every((size, axis) => size === shape[axis])) {
    const expected = `${quote(shape)}, as ${CONFIG} implies`;
    throw new FileFormatError({ file: holder, field: `${name}.shape`, found: quote(found.shape), expected });
  }
  if (!isWeight(found)) {
    const expected = "F32, F16 or BF16";
    throw new UnsupportedModelError({ file: holder, field: `${name}.dtype`, found: found.dtype, expected });
  }
  return found;
}

function allTensors({ embedding, layers, finalNorm, head }: ModelTensors): TensorSpec[] {
  const inLayers = layers.flatMap((layer) => Object.values(layer) as TensorSpec[]);
  return [embedding, ...inLayers, finalNorm, ...(head ? [head] : [])];
}

interface JsonFile {
  /** Name for messages. */
  name: string;
  value: unknown;
}

/**
 * A file that a model may lack. Object stores answer 403 for what is not there to who may not list it.
 * @returns undefined when there is no such file
 */
async function readOptionalJson(folder: Folder, path: string, signal?: AbortSignal): Promise<JsonFile | undefined> {
  try {
    return await readJson(folder, path, signal);
  } catch (error) {
    if (error instanceof SourceError && error.status === 403) return undefined;
    throw error;
  }
}

/** @returns undefined when there is no such file. */
async function readJson(folder: Folder, path: string, signal?: AbortSignal): Promise<JsonFile | undefined> {
  const source = await folder.open(path, signal);
  if (!source) return undefined;
  const { name, size } = source;
  try {
    if (size > MAX_JSON_BYTES) {
      const expected = `at most ${MAX_JSON_BYTES} bytes`;
      throw new FileFormatError({ file: name, field: "size", found: `${size} bytes`, expected });
    }
    const text = new TextDecoder().decode(await source.read(0, size, signal));
    return { name, value: parseJson(text, name) };
  } finally {
    await closeAll([source]);
  }
}

function missing(path: string, folder: Folder): SourceError {
  const layout = `${CONFIG}, ${TOKENIZER} and ${WEIGHTS} (or ${INDEX} and its shards)`;
  return new SourceError(path, `no such file in ${folder.name}: name a folder that holds a model as ${layout}`);
}

/** Waits for all, so that nothing is under way any more when the first failure, in their order, is thrown. */
async function all<T>(promises: Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  return results.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}

async function closingOnFailure<T>(sources: Source[], work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await closeAll(sources);
    throw error;
  }
}

/** A file that cannot be closed has nothing more to give or to lose. */
async function closeAll(sources: Source[]): Promise<void> {
  await Promise.allSettled(sources.map((source) => source.close()));
}
