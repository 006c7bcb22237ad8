/**
 * A model's files: in Hugging Face's layout, `config.json`, `tokenizer.json` and weights in safetensors, in one file or in
 * shards that an index names; or one GGUF file that holds everything.
 *
 * Opening it checks everything a load relies on, down to the shape and type of each tensor, so that later nothing is left
 * half made.
 */

import { FileFormatError, InputError, SourceError } from "../errors.ts";
import { Fields, parseJson, quote } from "../json.ts";
import { readModelSpec } from "../model/config.ts";
import type { ModelSpec, ModelTensors, TensorSpec } from "../model/spec.ts";
import { script } from "../scripts.ts";
import { FLOATS, findTensor, type Holder, TYPES } from "./find_tensor.ts";
import type { GgufHeader } from "./gguf.ts";
import { readSafetensorsHeader, type StoredTensor } from "./safetensors.ts";
import type { Folder, Source, WeightTensor } from "./source.ts";

/** Where a model's tokenizer and chat template stand: in files of their own, or in the metadata of a GGUF file. */
export type TextFiles =
  | {
      kind: "files";
      /** Parsed `tokenizer.json`, and its name for messages. */
      tokenizerJson: unknown;
      tokenizerFile: string;
      /** Parsed `tokenizer_config.json`; an empty object where there is none. */
      tokenizerConfig: unknown;
      tokenizerConfigFile: string;
      /** `chat_template.jinja`. */
      chatTemplate?: { name: string; text: string };
    }
  | { kind: "gguf"; metadata: GgufHeader["metadata"]; file: string };

/** An opened checkpoint. Its files stay open until `close()`. */
export interface Checkpoint {
  /** The folder's name, or the file's. */
  readonly name: string;
  readonly spec: ModelSpec;
  readonly tensors: ModelTensors;
  readonly text: TextFiles;
  /** Elements of all tensors the model needs. */
  readonly parameters: number;
  /** Bytes of all tensors the model needs, as stored. */
  readonly weightBytes: number;
  /**
   * Where a tensor lies.
   * @throws FileFormatError when it is missing or has another shape; UnsupportedModelError when it is of a type that cannot be
   * loaded. Neither happens for the tensors of `tensors`, which were checked on opening.
   */
  tensor(tensor: TensorSpec): WeightTensor;
  /** Bytes of the weight files, and how many of them a server had still to send; absent where they are at hand. */
  readonly fileBytes: number;
  readonly missingBytes?: number;
  /** Closes the weight files. */
  close(): Promise<void>;
}

const CONFIG = "config.json";
const GENERATION_CONFIG = "generation_config.json";
const TOKENIZER = "tokenizer.json";
const TOKENIZER_CONFIG = "tokenizer_config.json";
const CHAT_TEMPLATE = "chat_template.jinja";
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Above any tokenizer or index there is, below what a JavaScript string holds. */
const MAX_TEXT_BYTES = 256 * 2 ** 20;

const RELOAD = "download the model again, with all its files";

/**
 * Opens and checks the model in `folder`.
 * @throws SourceError when a file is missing or cannot be read; FileFormatError when one is damaged or contradicts another;
 * UnsupportedModelError when this version cannot run the model; the signal's reason. Every file opened by then is closed.
 */
export async function openCheckpoint(folder: Folder, signal?: AbortSignal): Promise<Checkpoint> {
  const gguf = await findGguf(folder, signal);
  return gguf === undefined ? openFiles(folder, signal) : openGguf(folder, gguf, signal);
}

/** The one GGUF file of a folder that has no model in Hugging Face's layout. */
async function findGguf(folder: Folder, signal?: AbortSignal): Promise<string | undefined> {
  const files = (await folder.list?.(signal)) ?? [];
  const found = files.filter((file) => /\.gguf$/i.test(file));
  if (found.length === 0 || files.some((file) => file === WEIGHTS || file === INDEX)) return undefined;
  if (found.length === 1) return found[0];
  throw new InputError({
    file: folder.name,
    field: "files",
    found: `${found.length} GGUF files (${quote(found.sort())})`,
    expected: "the name of one of them behind the folder's",
  });
}

async function openGguf(folder: Folder, path: string, signal?: AbortSignal): Promise<Checkpoint> {
  const source = await folder.open(path, signal);
  if (!source) throw new SourceError(path, `no such file in ${folder.name}`);
  return closingOnFailure([source], async () => {
    // They come with the first GGUF file: other models do without.
    const [{ readGgufHeader }, { readGgufModel }] = await script(
      Promise.all([import("./gguf.ts"), import("./gguf_model.ts")]),
    );
    const header = await readGgufHeader(source, signal);
    const { metadata } = header;
    const model = await readGgufModel(header, source.name, (tensor) => readFloats(tensor, signal));
    const holder: Holder = {
      ...{ file: source.name, settings: "the metadata", types: TYPES },
      nameOf: model.tensorName,
      find: (name) => model.stored.get(name),
    };
    return opened({
      ...{ name: source.name, spec: model.spec, tensors: model.tensors, sources: [source] },
      text: { kind: "gguf", metadata, file: source.name },
      tensor: (wanted) => findTensor(holder, wanted),
    });
  });
}

/** Most numbers that a tensor of settings has: one for each pair of a head's elements. */
const MOST_FLOATS = 4096;

async function readFloats({ name, dtype, shape, source, offset }: WeightTensor, signal?: AbortSignal) {
  const count = shape.reduce((a, b) => a * b, 1);
  if (dtype !== "F32" || count > MOST_FLOATS) {
    const found = `${count} of ${dtype}`;
    throw new FileFormatError({ file: source.name, field: name, found, expected: `at most ${MOST_FLOATS} of F32` });
  }
  const bytes = await source.read(offset, 4 * count, signal);
  return [...new Float32Array(bytes.slice().buffer)];
}

async function openFiles(folder: Folder, signal?: AbortSignal): Promise<Checkpoint> {
  const [config, generationConfig, tokenizerJson, tokenizerConfig, chatTemplate] = await all([
    readJson(folder, CONFIG, signal),
    readOptional(() => readJson(folder, GENERATION_CONFIG, signal)),
    readJson(folder, TOKENIZER, signal),
    readOptional(() => readJson(folder, TOKENIZER_CONFIG, signal)),
    readOptional(() => readText(folder, CHAT_TEMPLATE, signal)),
  ]);
  if (!config) throw missing(CONFIG, folder);
  const { spec, tensors, isPart } = readModelSpec(
    config.value,
    generationConfig?.value,
    config.name,
    generationConfig?.name,
  );
  if (!tokenizerJson) throw missing(TOKENIZER, folder);

  const weights = await openWeights(folder, signal);
  const nameOf = isPart ? partNames(weights.tensors) : (name: string) => name;
  const holder: Holder = {
    ...{ file: weights.file, settings: CONFIG, types: FLOATS },
    nameOf,
    find: (name) => weights.tensors.get(nameOf(name)),
  };
  return closingOnFailure(weights.sources, async () => {
    signal?.throwIfAborted();
    return opened({
      ...{ name: folder.name, spec, tensors, sources: weights.sources },
      text: {
        kind: "files",
        tokenizerJson: tokenizerJson.value,
        tokenizerFile: tokenizerJson.name,
        tokenizerConfig: tokenizerConfig?.value ?? {},
        tokenizerConfigFile: tokenizerConfig?.name ?? TOKENIZER_CONFIG,
        ...(chatTemplate && { chatTemplate }),
      },
      tensor: (wanted) => findTensor(holder, wanted),
    });
  });
}

/** A checkpoint whose tensors are all there. */
function opened(
  parts: Omit<Checkpoint, "parameters" | "weightBytes" | "fileBytes" | "missingBytes" | "close"> & {
    sources: Source[];
  },
): Checkpoint {
  const { sources, ...checkpoint } = parts;
  const needed = [...new Set(allTensors(checkpoint.tensors).map(checkpoint.tensor))]; // slices of one tensor count once
  const remote = sources.some(({ missing }) => missing !== undefined);
  return {
    ...checkpoint,
    ...(remote && { missingBytes: sources.reduce((sum, { missing = 0 }) => sum + missing, 0) }),
    parameters: needed.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
    weightBytes: needed.reduce((sum, { byteLength }) => sum + byteLength, 0),
    fileBytes: sources.reduce((sum, { size }) => sum + size, 0),
    close: () => closeAll(sources),
  };
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

/**
 * How a text model's tensors are named in a model that does more: as the hub has them, or as transformers has them in memory
 * and wrote them at times (`Gemma3ForConditionalGeneration._checkpoint_conversion_mapping`).
 */
function partNames(tensors: ReadonlyMap<string, unknown>): (name: string) => string {
  const inMemory = (name: string) => name.replace(/^model\./, "model.language_model.");
  return tensors.has(inMemory("model.embed_tokens.weight")) ? inMemory : (name) => `language_model.${name}`;
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
async function readOptional<T>(read: () => Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof SourceError && error.status === 403) return undefined;
    throw error;
  }
}

/** @returns undefined when there is no such file. */
async function readJson(folder: Folder, path: string, signal?: AbortSignal): Promise<JsonFile | undefined> {
  const file = await readText(folder, path, signal);
  return file && { name: file.name, value: parseJson(file.text, file.name) };
}

/** @returns undefined when there is no such file. */
async function readText(
  folder: Folder,
  path: string,
  signal?: AbortSignal,
): Promise<{ name: string; text: string } | undefined> {
  const source = await folder.open(path, signal);
  if (!source) return undefined;
  const { name, size } = source;
  try {
    if (size > MAX_TEXT_BYTES) {
      const expected = `at most ${MAX_TEXT_BYTES} bytes`;
      throw new FileFormatError({ file: name, field: "size", found: `${size} bytes`, expected });
    }
    return { name, text: new TextDecoder().decode(await source.read(0, size, signal)) };
  } finally {
    await closeAll([source]);
  }
}

function missing(path: string, folder: Folder): SourceError {
  const layout = `${CONFIG}, ${TOKENIZER} and ${WEIGHTS} (or ${INDEX} and its shards)`;
  const expected = `a folder that holds a model as ${layout}, or a .gguf file (on the hub: hf:owner/name)`;
  return new SourceError(path, `no such file in ${folder.name}: name ${expected}`);
}

/** Waits for all, so that nothing is under way any more when the first failure, in their order, is thrown. */
async function all<const T extends readonly Promise<unknown>[]>(
  promises: T,
): Promise<{ -readonly [I in keyof T]: Awaited<T[I]> }> {
  const results = await Promise.allSettled(promises);
  const values = results.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
  return values as { -readonly [I in keyof T]: Awaited<T[I]> };
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
