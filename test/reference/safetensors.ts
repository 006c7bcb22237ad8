/**
 * The tensors of a Hugging Face folder as float32: `model.safetensors`, or the shards that its index names.
 *
 * Format: 8 bytes of header size (little endian), a JSON header of name -> { dtype, shape, data_offsets }, the bytes.
 * Source: https://github.com/huggingface/safetensors#format
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A weight tensor, row-major. The three formats read here are all exact in float32. */
export interface Tensor {
  shape: readonly number[];
  values: Float32Array;
}

interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Every tensor of the model in `folder`, by name. */
export function readTensors(folder: string): Map<string, Tensor> {
  const single = join(folder, "model.safetensors");
  if (existsSync(single)) return readSafetensors(single);
  const index = JSON.parse(readFileSync(join(folder, "model.safetensors.index.json"), "utf8")) as {
    weight_map: Record<string, string>;
  };
  const shards = new Set(Object.values(index.weight_map));
  return new Map([...shards].flatMap((shard) => [...readSafetensors(join(folder, shard))]));
}

function readSafetensors(path: string): Map<string, Tensor> {
  const file = readFileSync(path);
  const headerSize = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, 8 + headerSize)) as Record<string, HeaderEntry>;
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [begin, end] = data_offsets;
    const bytes = file.subarray(8 + headerSize + begin, 8 + headerSize + end);
    const values = toFloat32(bytes, dtype, `${path}: ${name}`);
    const expected = shape.reduce((product, size) => product * size, 1);
    if (values.length !== expected) throw new Error(`${path}: ${name} holds ${values.length} numbers, not [${shape}]`);
    tensors.set(name, { shape, values });
  }
  return tensors;
}

/** Little-endian numbers of one format as float32. `name` is for the error message. */
export function toFloat32(bytes: Uint8Array, dtype: string, name: string): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = (size: number) => ({ length: bytes.byteLength / size });
  switch (dtype) {
    case "F32":
      return Float32Array.from(count(4), (_, i) => view.getFloat32(4 * i, true));
    case "F16":
      return Float32Array.from(count(2), (_, i) => f16Value(view.getUint16(2 * i, true)));
    case "BF16":
      return Float32Array.from(count(2), (_, i) => bf16Value(view.getUint16(2 * i, true)));
    default:
      throw new Error(`${name}: the reference decoder reads F32, F16 and BF16, not ${dtype}`);
  }
}

/** The number that an IEEE half is: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits. */
function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = (bits & 0x3ff) / 1024;
  if (exponent === 0) return sign * fraction * 2 ** -14;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** The number that a bfloat16 is: the upper half of a float32. */
function bf16Value(bits: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits << 16);
  return view.getFloat32(0);
}
