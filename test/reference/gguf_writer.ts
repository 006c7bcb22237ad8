/**
 * Writes GGUF files for tests, and damaged ones where asked. Knows nothing of the reader: it follows the specification,
 * https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
 */

/** Numbers of the metadata's types. */
const VALUE_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;
const STRING = 8;
const ARRAY = 9;

/** Numbers of the tensors' types. */
export const TENSOR_TYPES = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  IQ4_XS: 23,
  BF16: 30,
} as const;

type NumberType = keyof typeof VALUE_TYPES;

/** A metadata value: text, bytes that stand for a text, a truth value, or what the functions below make. */
export type Value = string | Uint8Array | boolean | NumberValue | ArrayValue;
interface NumberValue {
  type: NumberType;
  value: number | bigint;
}
interface ArrayValue {
  array: number;
  elements: Uint8Array[];
}

export const u32 = (value: number): NumberValue => ({ type: "u32", value });
export const f32 = (value: number): NumberValue => ({ type: "f32", value });
export const number = (type: NumberType, value: number | bigint): NumberValue => ({ type, value });
export const numbers = (type: NumberType, values: readonly (number | bigint)[]): ArrayValue => ({
  array: VALUE_TYPES[type],
  elements: values.map((value) => numberBytes({ type, value })),
});
export const texts = (values: readonly (string | Uint8Array)[]): ArrayValue => ({
  array: STRING,
  elements: values.map(textBytes),
});
export const arrays = (values: readonly ArrayValue[]): ArrayValue => ({
  array: ARRAY,
  elements: values.map(arrayBytes),
});

export interface WrittenTensor {
  name: string;
  /** A number for a type that there may not be. */
  dtype: keyof typeof TENSOR_TYPES | number;
  /** Row-major, the row's size last. */
  shape: readonly (number | bigint)[];
  bytes: Uint8Array;
  /** From the first tensor's place on; by default the next free one. */
  offset?: number | bigint;
}

export interface WrittenFile {
  metadata?: Readonly<Record<string, Value>> | readonly (readonly [string, Value])[];
  tensors?: readonly WrittenTensor[];
  /** Must be what the metadata says. */
  alignment?: number;
  version?: number;
  /** What the header says there are, where it lies. */
  tensorCount?: number | bigint;
  metadataCount?: number | bigint;
}

/** The bytes of a GGUF file. Its last tensor is not padded. */
export function writeGguf(file: WrittenFile): Buffer<ArrayBuffer> {
  const { metadata = {}, tensors = [], alignment = 32, version = 3 } = file;
  const entries = Array.isArray(metadata) ? (metadata as [string, Value][]) : Object.entries(metadata);
  const padding = (size: number) => new Uint8Array((alignment - (size % alignment)) % alignment);
  const header = [
    Buffer.from("GGUF"),
    numberBytes({ type: "u32", value: version }),
    numberBytes({ type: "u64", value: file.tensorCount ?? tensors.length }),
    numberBytes({ type: "u64", value: file.metadataCount ?? entries.length }),
    ...entries.flatMap(([key, value]) => [textBytes(key), ...valueBytes(value)]),
  ];
  const data: Uint8Array[] = [];
  let free = 0;
  for (const { name, dtype, shape, bytes, offset = free } of tensors) {
    header.push(
      textBytes(name),
      numberBytes({ type: "u32", value: shape.length }),
      ...shape.toReversed().map((value) => numberBytes({ type: "u64", value })),
      numberBytes({ type: "u32", value: typeof dtype === "number" ? dtype : TENSOR_TYPES[dtype] }),
      numberBytes({ type: "u64", value: offset }),
    );
    data.push(bytes, padding(bytes.length));
    free += bytes.length + padding(bytes.length).length;
  }
  const length = header.reduce((sum, { length }) => sum + length, 0);
  return Buffer.concat([...header, ...(tensors.length > 0 ? [padding(length)] : []), ...data.slice(0, -1)]);
}

function numberBytes({ type, value }: NumberValue): Uint8Array {
  const [whole, big] = type === "f32" || type === "f64" ? [0, 0n] : [Number(value), BigInt(value)];
  switch (type) {
    case "u8":
    case "bool":
      return Uint8Array.of(whole);
    case "i8":
      return bytesOf(Int8Array.of(whole));
    case "u16":
      return bytesOf(Uint16Array.of(whole));
    case "i16":
      return bytesOf(Int16Array.of(whole));
    case "u32":
      return bytesOf(Uint32Array.of(whole));
    case "i32":
      return bytesOf(Int32Array.of(whole));
    case "f32":
      return bytesOf(Float32Array.of(Number(value)));
    case "u64":
      return bytesOf(BigUint64Array.of(big));
    case "i64":
      return bytesOf(BigInt64Array.of(big));
    case "f64":
      return bytesOf(Float64Array.of(Number(value)));
  }
}

function bytesOf({ buffer }: { buffer: ArrayBuffer }): Uint8Array {
  return new Uint8Array(buffer);
}

function textBytes(text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === "string" ? Buffer.from(text) : text;
  return Buffer.concat([numberBytes({ type: "u64", value: bytes.length }), bytes]);
}

function arrayBytes({ array, elements }: ArrayValue): Uint8Array {
  return Buffer.concat([
    numberBytes({ type: "u32", value: array }),
    numberBytes({ type: "u64", value: elements.length }),
    ...elements,
  ]);
}

/** Type and value. */
function valueBytes(value: Value): Uint8Array[] {
  const type = (value: number) => numberBytes({ type: "u32", value });
  if (typeof value === "string" || value instanceof Uint8Array) return [type(STRING), textBytes(value)];
  if (typeof value === "boolean") {
    return [type(VALUE_TYPES.bool), numberBytes({ type: "bool", value: Number(value) })];
  }
  if ("array" in value) return [type(ARRAY), arrayBytes(value)];
  return [type(VALUE_TYPES[value.type]), numberBytes(value)];
}
