/** A model of 4 GB, made up as it is read: host memory must not grow with the model. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { load } from "../../src/index.ts";
import { readModelSpec } from "../../src/model/config.ts";
import type { TensorSpec } from "../../src/model/spec.ts";
import type { Folder, Source } from "../../src/weights/source.ts";
import { SLOW } from "../slow.ts";

const STORIES = new URL("../../models/stories260k-layerskip/", import.meta.url).pathname;

/** 8 layers of 0.27 G weights in f16. */
const CONFIG = {
  model_type: "llama",
  vocab_size: 512,
  hidden_size: 4096,
  intermediate_size: 16384,
  num_hidden_layers: 8,
  num_attention_heads: 32,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
};

const MOST_HOST_BYTES = 300e6;

describe.runIf(SLOW)("a model of 4 GB", () => {
  test("is loaded with less than 300 MB of host memory, and the GPU holds one staging chunk beside it", async () => {
    const { folder, bytes, reads } = syntheticModel();
    expect(bytes).toBeGreaterThan(4e9);
    await using model = await load(folder, { dtype: "q4", contextLength: 64 });
    expect(model.loadStats.hostPeakBytes).toBeLessThan(MOST_HOST_BYTES);
    expect(Math.max(...reads)).toBeLessThanOrEqual(8 * 2 ** 20);
    expect(model.memory().byOwner.weights).toBeLessThan(0.3 * bytes);
    expect(model.memory().byOwner.staging).toBeUndefined();
  });
});

/** Every weight is a small number; its bytes exist only while they are read. */
function syntheticModel(): { folder: Folder; bytes: number; reads: number[] } {
  const { tensors } = readModelSpec(CONFIG, undefined, "config.json");
  const header: Record<string, unknown> = {};
  let end = 0;
  const layers = tensors.layers.flatMap((layer) => Object.values<TensorSpec | undefined>({ ...layer }));
  for (const tensor of [tensors.embedding, ...layers, tensors.finalNorm]) {
    if (!tensor) continue;
    const begin = end;
    end += 2 * tensor.shape.reduce((a, b) => a * b, 1);
    header[tensor.name] = { dtype: "F16", shape: tensor.shape, data_offsets: [begin, end] };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + json.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(json.length), true);
  head.set(json, 8);
  const reads: number[] = [];
  const weights: Source = {
    name: "model.safetensors",
    size: head.length + end,
    async read(offset, length) {
      if (offset < head.length) return head.slice(offset, offset + length);
      reads.push(length);
      return new Uint8Array(length).fill(0x21); // halves of 0.01
    },
    async close() {},
  };
  const file = (name: string, bytes: Uint8Array<ArrayBuffer>): Source => ({
    ...{ name, size: bytes.length },
    read: async (offset, length) => bytes.slice(offset, offset + length),
    close: async () => {},
  });
  const files = new Map<string, Source>([
    ["config.json", file("config.json", new TextEncoder().encode(JSON.stringify(CONFIG)))],
    ["tokenizer.json", file("tokenizer.json", Uint8Array.from(readFileSync(`${STORIES}tokenizer.json`)))],
    ["model.safetensors", weights],
  ]);
  return { folder: { name: "synthetic", open: async (path) => files.get(path) }, bytes: end, reads };
}
