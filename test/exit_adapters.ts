/** Exit adapters that are known to be right: a model's own layer as the block of one, and maps that change nothing. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openFolder } from "../src/platform/node.ts";
import { blobSource } from "../src/sources/blob_source.ts";
import { openCheckpoint } from "../src/weights/checkpoint.ts";
import { encodeSafetensors, readSafetensors, type TensorBytes } from "../src/weights/safetensors.ts";

/** The parts of an adapter's file, to be changed before they are encoded. */
export interface AdapterParts {
  tensors: Record<string, TensorBytes>;
  metadata: Record<string, string>;
}

/** `[size][size]`: what it is multiplied with stays the same. */
export function identity(size: number): TensorBytes {
  const numbers = Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0));
  return floats(numbers, size, size);
}

export function floats(numbers: Float32Array<ArrayBuffer>, ...shape: number[]): TensorBytes {
  return { dtype: "F32", shape, bytes: new Uint8Array(numbers.buffer) };
}

export function int32(...ids: number[]): TensorBytes {
  return { dtype: "I32", shape: [ids.length], bytes: new Uint8Array(Int32Array.from(ids).buffer) };
}

/** The file of these parts. */
export function adapterFile({ tensors, metadata }: AdapterParts): Uint8Array<ArrayBuffer> {
  return encodeSafetensors(tensors, metadata);
}

/** A linear adapter that changes nothing: the exit after its layers guesses as it does by itself. */
export async function identityAdapter(folder: string, exitLayer: number): Promise<AdapterParts> {
  const { spec } = await openedAndClosed(folder);
  const { hiddenSize } = spec;
  return {
    tensors: { "map.weight": identity(hiddenSize), "map.bias": floats(new Float32Array(hiddenSize), hiddenSize) },
    metadata: { ...(await metadataOf(folder)), kind: "linear", exit_layer: String(exitLayer) },
  };
}

/** An adapter whose block is the model's layer that comes next: it guesses as an exit one layer later does. */
export async function nextLayerAdapter(folder: string, exitLayer: number): Promise<AdapterParts> {
  const { hiddenSize } = (await openedAndClosed(folder)).spec;
  const copied: Record<string, TensorBytes> = {};
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".safetensors"))) {
    const bytes = new Uint8Array(readFileSync(join(folder, file)));
    const { tensors } = await readSafetensors(blobSource(file, new Blob([bytes])));
    for (const { name, dtype, shape, offset, byteLength } of tensors.values()) {
      const [prefix] = new RegExp(`^.*layers\\.${exitLayer}\\.`).exec(name) ?? [];
      if (prefix === undefined) continue;
      copied[name.replace(prefix, "block.")] = { dtype, shape, bytes: bytes.subarray(offset, offset + byteLength) };
    }
  }
  return {
    tensors: {
      ...copied,
      "post.weight": identity(hiddenSize),
      "post.bias": floats(new Float32Array(hiddenSize), hiddenSize),
    },
    metadata: { ...(await metadataOf(folder)), kind: "block", exit_layer: String(exitLayer) },
  };
}

async function openedAndClosed(folder: string) {
  const checkpoint = await openCheckpoint(openFolder(folder));
  await checkpoint.close();
  return checkpoint;
}

async function metadataOf(folder: string): Promise<Record<string, string>> {
  const { spec } = await openedAndClosed(folder);
  return {
    ...{ format: "layerleap-exit-adapter", version: "1", base_model: "a test's", base_model_type: spec.family },
    num_hidden_layers: String(spec.layers),
    hidden_size: String(spec.hiddenSize),
    vocab_size: String(spec.vocabSize),
  };
}
