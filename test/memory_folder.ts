/** Models made up in memory, in Hugging Face's layout: what a test needs that no file has. */

import { readFileSync } from "node:fs";
import type { Folder, Source } from "../src/weights/source.ts";
import type { ReferenceConfig } from "./reference/config.ts";
import { ReferenceModel } from "./reference/model.ts";
import type { Random } from "./reference/random.ts";
import { randomConfig, randomTensors } from "./reference/random_model.ts";
import type { Tensor } from "./reference/safetensors.ts";

export const STORIES = new URL("../models/stories260k-layerskip/", import.meta.url).pathname;

/** A folder whose files are these bytes. */
export function memoryFolder(name: string, files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>): Folder {
  return {
    name,
    async open(path: string): Promise<Source | undefined> {
      const bytes = files[path];
      return (
        bytes && {
          name: `${name}/${path}`,
          size: bytes.length,
          read: async (offset, length) => bytes.slice(offset, offset + length),
          close: async () => {},
        }
      );
    },
  };
}

/** The bytes of a safetensors file of f32 tensors. */
export function safetensors(tensors: ReadonlyMap<string, Tensor>): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, { shape, values }] of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + offset);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let at = 8 + json.length;
  for (const { values } of tensors.values()) {
    file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return file;
}

/** A model of random shape and weights that the GPU can run, and the same model for the reference decoder. */
export function randomModelFolder(
  random: Random,
  fixed: Partial<ReferenceConfig> = {},
): { folder: Folder; reference: ReferenceModel; tensors: ReadonlyMap<string, Tensor> } {
  const config = randomConfig(random, {
    vocabSize: random.int(3, 200),
    intermediateSize: 4 * random.int(2, 12),
    headDim: 8 * random.int(1, 5),
    maxPositionEmbeddings: 256,
    ...fixed,
  });
  const tensors = randomTensors(random, config);
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const folder = memoryFolder("random-model", {
    "config.json": json({
      model_type: "llama",
      vocab_size: config.vocabSize,
      hidden_size: config.hiddenSize,
      intermediate_size: config.intermediateSize,
      num_hidden_layers: config.layers,
      num_attention_heads: config.heads,
      num_key_value_heads: config.kvHeads,
      head_dim: config.headDim,
      max_position_embeddings: config.maxPositionEmbeddings,
      rms_norm_eps: config.rmsNormEps,
      rope_theta: config.ropeTheta,
      hidden_act: "silu",
      tie_word_embeddings: config.tieWordEmbeddings,
      eos_token_id: config.eosTokenIds,
    }),
    "model.safetensors": safetensors(tensors),
    "tokenizer.json": Uint8Array.from(readFileSync(`${STORIES}tokenizer.json`)),
  });
  return { folder, reference: new ReferenceModel(config, tensors), tensors };
}
