/**
 * The safetensors format: 8 bytes header length N (little endian), N bytes of JSON, then the tensors' bytes.
 * Source: https://github.com/huggingface/safetensors#format
 *
 * Only the header is read here. As the reference implementation does, a file is refused whose tensors overlap, leave
 * holes or do not end where the file ends: its offsets cannot be trusted.
 */

import { FileFormatError } from "../errors.ts";
import { Fields, parseJson, quote } from "../json.ts";
import type { Source } from "./source.ts";

/** Bits of one element. Types of less than a byte are packed. */
const BITS = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
  C64: 64,
} as const;

/** Every element type the format knows. */
export type SafetensorsDtype = keyof typeof BITS;

/** A tensor as it lies in a file. */
export interface StoredTensor {
  name: string;
  dtype: SafetensorsDtype;
  /** Row-major. Empty for a scalar. */
  shape: readonly number[];
  /** The file it lies in. */
  source: Source;
  /** First byte, counted from the start of the file. Aligned to nothing. */
  offset: number;
  byteLength: number;
}

const LENGTH_BYTES = 8;
const METADATA = "__metadata__";
/** The reference implementation's limit (`MAX_HEADER_SIZE`). */
const MAX_HEADER_BYTES = 100_000_000;

/**
 * Reads and checks the header of a safetensors file.
 * @returns the tensors by name, in the header's order
 * @throws FileFormatError when the file is damaged; SourceError when it cannot be read; the signal's reason
 */
export async function readSafetensorsHeader(source: Source, signal?: AbortSignal): Promise<Map<string, StoredTensor>> {
  return (await readSafetensors(source, signal)).tensors;
}

/** What a file's header says. */
export interface SafetensorsHeader {
  /** In the header's order. */
  tensors: Map<string, StoredTensor>;
  /** `__metadata__`: texts by name; empty where there are none. */
  metadata: Fields;
}

/**
 * The same with the file's metadata.
 * @throws FileFormatError when the file is damaged; SourceError when it cannot be read; the signal's reason
 */
export async function readSafetensors(source: Source, signal?: AbortSignal): Promise<SafetensorsHeader> {
  const headerBytes = await readHeaderLength(source, signal);
  const header = decodeHeader(await source.read(LENGTH_BYTES, headerBytes, signal), source.name);
  const dataStart = LENGTH_BYTES + headerBytes;
  const tensors = new Map<string, StoredTensor>();
  let metadata = new Fields({}, source.name, METADATA);
  for (const [name, entry] of header.entries()) {
    if (name === METADATA) metadata = readMetadata(entry, source.name);
    else tensors.set(name, readEntry(name, new Fields(entry, source.name, name), source, dataStart));
  }
  checkLayout([...tensors.values()], source, dataStart);
  return { tensors, metadata };
}

/** Size of the JSON, checked against the file before anything of that size is allocated. */
async function readHeaderLength(source: Source, signal?: AbortSignal): Promise<number> {
  const error = (found: string, expected: string) =>
    new FileFormatError({ file: source.name, field: "header length", found, expected });
  if (source.size < LENGTH_BYTES) {
    throw error(`a file of ${source.size} bytes`, `at least ${LENGTH_BYTES} bytes of a safetensors file`);
  }
  const bytes = await source.read(0, LENGTH_BYTES, signal);
  const length = new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  const limit = Math.min(MAX_HEADER_BYTES, source.size - LENGTH_BYTES);
  if (length > BigInt(limit)) {
    throw error(
      `${length} bytes`,
      limit === MAX_HEADER_BYTES
        ? `at most ${limit} bytes`
        : `at most the ${limit} bytes that follow: the file is truncated or not a safetensors file`,
    );
  }
  return Number(length);
}

function decodeHeader(bytes: Uint8Array, file: string): Fields {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const found = "bytes that are not UTF-8";
    throw new FileFormatError({ file, field: "header", found, expected: "JSON in UTF-8" }, { cause });
  }
  if (!text.startsWith("{")) {
    const found = text === "" ? "nothing" : `text that begins with ${quote(text.slice(0, 40))}`;
    throw new FileFormatError({ file, field: "header", found, expected: "JSON that begins with {" });
  }
  return new Fields(parseJson(text, file, "header"), file);
}

function readMetadata(entry: unknown, file: string): Fields {
  const metadata = new Fields(entry, file, METADATA);
  for (const [key, value] of metadata.entries()) {
    if (typeof value !== "string") throw metadata.error(key, "a string");
  }
  return metadata;
}

/** One header entry: `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}`, offsets counted from `dataStart`. */
function readEntry(name: string, entry: Fields, source: Source, dataStart: number): StoredTensor {
  const dtype = entry.string("dtype");
  if (!isDtype(dtype)) throw entry.error("dtype", `one of ${Object.keys(BITS).join(", ")}`);
  const shape = entry.get("shape");
  if (!Array.isArray(shape) || !shape.every(isSize)) throw entry.error("shape", "an array of integers, 0 or more");
  const offsets = entry.get("data_offsets");
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[0] > offsets[1]) {
    throw entry.error("data_offsets", "two integers [begin, end], begin <= end");
  }
  const [begin, end] = offsets as [number, number];
  const dataBytes = source.size - dataStart;
  if (end > dataBytes) {
    throw entry.error("data_offsets", `an end within the file's ${dataBytes} bytes of data: the file is truncated`);
  }
  const byteLength = byteLengthOf(shape, dtype);
  if (byteLength === undefined) throw entry.error("shape", "whole bytes, and no more than a file can hold");
  if (end - begin !== byteLength) {
    throw entry.error(
      "data_offsets",
      `${byteLength} bytes for shape ${quote(shape)} of ${dtype}`,
      `${quote(offsets)}, ${end - begin} bytes`,
    );
  }
  return { name, dtype, shape, source, offset: dataStart + begin, byteLength };
}

function isDtype(name: string): name is SafetensorsDtype {
  return Object.hasOwn(BITS, name);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Bytes of a tensor; undefined where they are not a whole number or too many to count. */
function byteLengthOf(shape: readonly number[], dtype: SafetensorsDtype): number | undefined {
  let bits: number = BITS[dtype];
  for (const size of shape) {
    bits *= size;
    if (!Number.isSafeInteger(bits)) return undefined;
  }
  return bits % 8 === 0 ? bits / 8 : undefined;
}

/** The tensors' bytes follow each other without overlap or hole, to the end of the file. */
function checkLayout(tensors: StoredTensor[], source: Source, dataStart: number): void {
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  let end = dataStart;
  let previous = "the header";
  for (const { name, offset, byteLength } of tensors) {
    if (offset !== end) {
      const found = `${offset - dataStart}, ${offset < end ? "an overlap with" : "a hole after"} ${previous}`;
      const field = `${name}.data_offsets`;
      throw new FileFormatError({ file: source.name, field, found, expected: `begin ${end - dataStart}` });
    }
    end = offset + byteLength;
    previous = name;
  }
  if (end !== source.size) {
    const found = `${source.size - dataStart} bytes`;
    const expected = `${end - dataStart} bytes, as its tensors take`;
    throw new FileFormatError({ file: source.name, field: "data", found, expected });
  }
}

/** A tensor to be written. */
export interface TensorBytes {
  dtype: SafetensorsDtype;
  /** Row-major. */
  shape: readonly number[];
  bytes: Uint8Array;
}

/**
 * A file of these tensors, in their order: those of larger elements first, so that each is aligned.
 * @param metadata texts by name
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, TensorBytes>>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = { [METADATA]: metadata };
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes.byteLength] };
    end += bytes.byteLength;
  }
  const json = JSON.stringify(header);
  // Spaces behind the JSON align what follows, as the reference implementation does.
  const text = new TextEncoder().encode(json);
  const headerBytes = Math.ceil(text.byteLength / 8) * 8;
  const file = new Uint8Array(LENGTH_BYTES + headerBytes + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerBytes);
  file.set(text, LENGTH_BYTES);
  let offset = LENGTH_BYTES + headerBytes;
  for (const { bytes } of Object.values(tensors)) {
    file.set(bytes, offset);
    offset += bytes.byteLength;
  }
  return file;
}
