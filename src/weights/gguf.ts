/**
 * The GGUF format, versions 2 and 3, little endian: metadata, then a description of every tensor, then the tensors' bytes.
 * Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, and where it is silent `ggml/src/gguf.cpp`.
 *
 * Only the header is read here: the metadata, a vocabulary of some MB among it, and the tensors' places. As the reference
 * implementation does, a file is refused whose tensors overlap or leave holes: its offsets cannot be trusted.
 */

import { FileFormatError, UnsupportedModelError } from "../errors.ts";
import { quote } from "../json.ts";
import { SOURCE_LAYOUTS, type SourceType } from "../kernels/source_type.ts";
import { ggufType } from "./gguf_types.ts";
import { HeaderReader } from "./header_reader.ts";
import type { Source } from "./source.ts";

/** Numbers of an array, of the type they are stored in. Truth values are 0 or 1. */
export type GgufNumbers =
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>;

/** Elements of one type. */
export type GgufArray = GgufNumbers | readonly string[] | readonly GgufArray[];

/** A value of the metadata. A 64-bit integer beyond 2^53 is rounded, and so no safe integer. */
export type GgufValue = number | boolean | string | GgufArray;

/** A tensor as it lies in a file. */
export interface GgufTensor {
  name: string;
  dtype: SourceType;
  /** Row-major, as in safetensors: the last size is that of a row. (GGUF itself names the row's size first.) */
  shape: readonly number[];
  /** The file it lies in. */
  source: Source;
  /** First byte, counted from the start of the file. */
  offset: number;
  byteLength: number;
}

export interface GgufHeader {
  /** In the file's order. */
  metadata: ReadonlyMap<string, GgufValue>;
  /** By name, in the file's order. */
  tensors: Map<string, GgufTensor>;
}

const MAGIC = 0x46554747; // "GGUF", little endian
const DEFAULT_ALIGNMENT = 32;

/** The vocabulary is most of a header: 256k tokens with their merges are about 10 MB. */
const FIRST_RANGE_BYTES = 2 ** 18;
const MAX_HEADER_BYTES = 2 ** 26;
/** The specification's limit. */
const MAX_NAME_BYTES = 65535;
/** The reference implementation's limit (`GGML_MAX_DIMS`). */
const MAX_DIMENSIONS = 4;
/** Arrays of arrays are in the specification and in no file. */
const MAX_NESTING = 4;
/** Bytes of the shortest metadata entry and of the shortest description of a tensor: more of them no file can hold. */
const LEAST_ENTRY_BYTES = 8 + 4 + 1;
const LEAST_TENSOR_BYTES = 8 + 4 + 4 + 8;
/** Characters of a name that messages show. */
const SHOWN_NAME_LENGTH = 80;

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenient = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Reads and checks the header of a GGUF file.
 * @throws FileFormatError when the file is damaged; UnsupportedModelError when its version, byte order or a tensor's type is
 * one that this version does not read; SourceError when it cannot be read; the signal's reason
 */
export async function readGgufHeader(source: Source, signal?: AbortSignal): Promise<GgufHeader> {
  const reader = new HeaderReader(source, { firstRange: FIRST_RANGE_BYTES, maxBytes: MAX_HEADER_BYTES, signal });
  const { tensorCount, entryCount } = await reader.item(() => readCounts(reader, source.name));
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < entryCount; i++) {
    const { key, value } = await reader.item(() => readEntry(reader, i));
    if (metadata.has(key)) throw reader.error("a second entry of that name", "one");
    metadata.set(key, value);
  }
  const alignment = readAlignment(metadata, source.name);
  const tensors = new Map<string, GgufTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = await reader.item(() => readTensor(reader, i, source));
    if (tensors.has(tensor.name)) throw reader.error("a second tensor of that name", "one");
    tensors.set(tensor.name, tensor);
  }
  place([...tensors.values()], source, padded(reader.position, alignment), alignment);
  return { metadata, tensors };
}

/** Magic number, version, and how much follows. */
function readCounts(reader: HeaderReader, file: string): { tensorCount: number; entryCount: number } {
  reader.field = "magic number";
  const magic = reader.uint32();
  if (magic !== MAGIC) {
    const text = [0, 8, 16, 24].map((shift) => String.fromCharCode((magic >>> shift) & 255)).join("");
    throw reader.error(quote(text), '"GGUF": it is no GGUF file');
  }
  reader.field = "version";
  const version = reader.uint32();
  if (version !== 2 && version !== 3) {
    const found = version % 0x10000 === 0 && version !== 0 ? "big endian numbers" : `version ${version}`;
    const expected = "version 2 or 3, little endian";
    throw new UnsupportedModelError({ file, field: reader.field, found, expected });
  }
  reader.field = "tensor count";
  const tensorCount = reader.uint64();
  checkCount(reader, tensorCount, LEAST_TENSOR_BYTES);
  reader.field = "metadata count";
  const entryCount = reader.uint64();
  checkCount(reader, entryCount, LEAST_ENTRY_BYTES);
  return { tensorCount, entryCount };
}

/** @throws FileFormatError for more things of `leastBytes` bytes than can follow */
function checkCount(reader: HeaderReader, count: number, leastBytes: number): void {
  const most = Math.floor(Math.max(0, reader.remaining) / leastBytes);
  if (count > most)
    throw reader.error(`${count}`, `at most the ${most} that the rest of the file has room for: is it cut short?`);
}

/** The name of an entry or a tensor. */
function readName(reader: HeaderReader, kind: string, index: number): string {
  reader.field = `name of ${kind} ${index}`;
  const length = reader.uint64();
  if (length === 0 || length > MAX_NAME_BYTES) throw reader.error(`${length} bytes`, `1 to ${MAX_NAME_BYTES} bytes`);
  const name = readText(reader, length);
  reader.field = name.length > SHOWN_NAME_LENGTH ? `${name.slice(0, SHOWN_NAME_LENGTH)}...` : name;
  return name;
}

function readText(reader: HeaderReader, length: number): string {
  try {
    return reader.text(length, strict);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw reader.error("bytes that are not UTF-8", "text in UTF-8", { cause });
  }
}

function readEntry(reader: HeaderReader, index: number): { key: string; value: GgufValue } {
  const key = readName(reader, "metadata entry", index);
  return { key, value: readValue(reader) };
}

/** The types of metadata, by their numbers (`enum gguf_metadata_value_type`). */
const [BOOL, STRING, ARRAY] = [7, 8, 9];
const NUMBERS: Readonly<Record<number, { bytes: number; one: (from: HeaderReader) => number; all: AllNumbers }>> = {
  0: { bytes: 1, one: (from) => from.uint8(), all: (buffer) => new Uint8Array(buffer) },
  1: { bytes: 1, one: (from) => from.int8(), all: (buffer) => new Int8Array(buffer) },
  2: { bytes: 2, one: (from) => from.uint16(), all: (buffer) => new Uint16Array(buffer) },
  3: { bytes: 2, one: (from) => from.int16(), all: (buffer) => new Int16Array(buffer) },
  4: { bytes: 4, one: (from) => from.uint32(), all: (buffer) => new Uint32Array(buffer) },
  5: { bytes: 4, one: (from) => from.int32(), all: (buffer) => new Int32Array(buffer) },
  6: { bytes: 4, one: (from) => from.float32(), all: (buffer) => new Float32Array(buffer) },
  10: {
    bytes: 8,
    one: (from) => from.uint64(),
    all: (buffer) => Float64Array.from(new BigUint64Array(buffer), Number),
  },
  11: { bytes: 8, one: (from) => from.int64(), all: (buffer) => Float64Array.from(new BigInt64Array(buffer), Number) },
  12: { bytes: 8, one: (from) => from.float64(), all: (buffer) => new Float64Array(buffer) },
};
type AllNumbers = (buffer: ArrayBuffer) => GgufNumbers;

function readValue(reader: HeaderReader): GgufValue {
  const type = reader.uint32();
  if (type === STRING) return readText(reader, reader.uint64());
  if (type === ARRAY) return readArray(reader, 1);
  if (type === BOOL) {
    const byte = reader.uint8();
    if (byte > 1) throw reader.error(`${byte}`, "0 or 1 for a truth value");
    return byte === 1;
  }
  const number = NUMBERS[type];
  if (!number) throw unknownType(reader, type);
  return number.one(reader);
}

function readArray(reader: HeaderReader, depth: number): GgufArray {
  const type = reader.uint32();
  const count = reader.uint64();
  if (type === STRING) {
    checkCount(reader, count, 8);
    const texts: string[] = [];
    // Tokens of a vocabulary are now and then bytes that are no UTF-8 by themselves.
    for (let i = 0; i < count; i++) texts.push(reader.text(reader.uint64(), lenient));
    return texts;
  }
  if (type === ARRAY) {
    if (depth === MAX_NESTING) throw reader.error("arrays nested deeper", `at most ${MAX_NESTING} levels`);
    checkCount(reader, count, 12);
    const arrays: GgufArray[] = [];
    for (let i = 0; i < count; i++) arrays.push(readArray(reader, depth + 1));
    return arrays;
  }
  const number = NUMBERS[type === BOOL ? 0 : type];
  if (!number) throw unknownType(reader, type);
  checkCount(reader, count, number.bytes);
  const numbers = number.all(reader.bytes(count * number.bytes).buffer);
  if (type === BOOL && numbers.some((byte) => byte > 1)) {
    throw reader.error("a truth value that is neither", "0 or 1 for each");
  }
  return numbers;
}

function unknownType(reader: HeaderReader, type: number): FileFormatError {
  return reader.error(`a value of type ${type}`, "a type from 0 to 12");
}

function readAlignment(metadata: ReadonlyMap<string, GgufValue>, file: string): number {
  const field = "general.alignment";
  const alignment = metadata.get(field) ?? DEFAULT_ALIGNMENT;
  if (typeof alignment !== "number" || !Number.isInteger(Math.log2(alignment)) || alignment < 1) {
    throw new FileFormatError({ file, field, found: quote(alignment), expected: "a power of two" });
  }
  return alignment;
}

function padded(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

/** One tensor's description. Its offset is counted from the first tensor's place still, which is not known yet. */
function readTensor(reader: HeaderReader, index: number, source: Source): GgufTensor {
  const name = readName(reader, "tensor", index);
  const shown = reader.field;
  reader.field = `${shown}.shape`;
  const dimensions = reader.uint32();
  if (dimensions > MAX_DIMENSIONS) throw reader.error(`${dimensions} dimensions`, `at most ${MAX_DIMENSIONS}`);
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) shape.unshift(reader.uint64());
  reader.field = `${shown}.type`;
  const dtype = ggufType(reader.uint32(), source.name, reader.field);
  reader.field = `${shown}.shape`;
  const byteLength = byteLengthOf(reader, shape, dtype);
  reader.field = `${shown}.offset`;
  const offset = reader.uint64();
  reader.field = shown;
  return { name, dtype, shape, source, offset, byteLength };
}

/** Bytes of a tensor of whole blocks. */
function byteLengthOf(reader: HeaderReader, shape: readonly number[], dtype: SourceType): number {
  const { elements, bytes } = SOURCE_LAYOUTS[dtype];
  const row = shape.at(-1) ?? 1;
  if (row % elements !== 0) {
    throw reader.error(quote(shape), `rows of a multiple of ${elements} elements, as blocks of ${dtype} have`);
  }
  const byteLength = shape.slice(0, -1).reduce((product, size) => product * size, (row / elements) * bytes);
  if (![byteLength, ...shape].every(Number.isSafeInteger)) {
    throw reader.error(quote(shape), "no more elements than a file can hold");
  }
  return byteLength;
}

/**
 * Sets the tensors' places in the file, counted from its start. Each begins where the one before it ends, padded.
 * @throws FileFormatError when one is misaligned, reaches beyond the file, or overlaps or leaves a hole
 */
function place(tensors: GgufTensor[], source: Source, dataStart: number, alignment: number): void {
  const file = source.name;
  let end = 0;
  let previous = "the header";
  for (const tensor of tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)) {
    const { name, offset, byteLength } = tensor;
    const field = `${name.slice(0, SHOWN_NAME_LENGTH)}.offset`;
    if (offset % alignment !== 0) {
      throw new FileFormatError({ file, field, found: `${offset}`, expected: `a multiple of ${alignment}` });
    }
    if (offset !== end) {
      const found = `${offset}, ${offset < end ? "an overlap with" : "a hole after"} ${previous}`;
      throw new FileFormatError({ file, field, found, expected: `${end}` });
    }
    tensor.offset = dataStart + offset;
    if (tensor.offset + byteLength > source.size) {
      const found = `an end at ${tensor.offset + byteLength} in a file of ${source.size} bytes`;
      throw new FileFormatError({ file, field, found, expected: "an end within the file: it is truncated" });
    }
    end = padded(offset + byteLength, alignment);
    previous = name.slice(0, SHOWN_NAME_LENGTH);
  }
}
