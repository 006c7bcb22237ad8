/**
 * A file as llama.cpp's Q4_K_M is: most matrices in Q4_K, values and down projections of some layers in Q6_K, as the head is.
 * What it costs in kernels, and that drafting changes nothing.
 */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { load } from "../../src/index.ts";
import { randomBlocks } from "../../src/kernels/gguf_blocks.ts";
import { type GgufBlockType, SOURCE_LAYOUTS } from "../../src/kernels/source_type.ts";
import type { Folder } from "../../src/weights/source.ts";
import { memoryFolder, STORIES } from "../memory_folder.ts";
import { f32, numbers, texts, u32, type Value, type WrittenTensor, writeGguf } from "../reference/gguf_writer.ts";
import { Random } from "../reference/random.ts";
import { sentencePieceMetadata } from "../text/gguf_metadata.ts";

const [LAYERS, VOCABULARY, HIDDEN, HEADS, KV_HEADS] = [4, 512, 256, 4, 2];
const KV_SIZE = (HIDDEN / HEADS) * KV_HEADS;

/** Layers whose values and down projections have more bits. */
const FINER = [0, 3];

/** Their rows are as many as each bucket has, or one more. */
const DRAFT_LENGTHS = [1, 2, 4, 8, 15];

function mixed(): Folder {
  const random = new Random(11);
  const uniform = () => random.uniform();
  const norm = (name: string): WrittenTensor => ({
    ...{ name, dtype: "F32", shape: [HIDDEN] },
    bytes: new Uint8Array(new Float32Array(HIDDEN).fill(1).buffer),
  });
  const matrix = (name: string, dtype: GgufBlockType, rows: number): WrittenTensor => ({
    ...{ name, dtype, shape: [rows, HIDDEN] },
    bytes: randomBlocks(dtype, (rows * HIDDEN) / SOURCE_LAYOUTS[dtype].elements, uniform, [2, 5]),
  });
  const layer = (i: number): WrittenTensor[] => {
    const finer = FINER.includes(i) ? "Q6_K" : "Q4_K";
    return [
      matrix(`blk.${i}.attn_q.weight`, "Q4_K", HIDDEN),
      matrix(`blk.${i}.attn_k.weight`, "Q4_K", KV_SIZE),
      matrix(`blk.${i}.attn_v.weight`, finer, KV_SIZE),
      matrix(`blk.${i}.attn_output.weight`, "Q4_K", HIDDEN),
      matrix(`blk.${i}.ffn_gate.weight`, "Q4_K", HIDDEN),
      matrix(`blk.${i}.ffn_up.weight`, "Q4_K", HIDDEN),
      matrix(`blk.${i}.ffn_down.weight`, finer, HIDDEN),
      norm(`blk.${i}.attn_norm.weight`),
      norm(`blk.${i}.ffn_norm.weight`),
    ];
  };
  const tokenizer = sentencePieceMetadata(JSON.parse(readFileSync(`${STORIES}tokenizer.json`, "utf8")));
  const metadata: [string, Value][] = [
    ["general.architecture", "llama"],
    ["llama.block_count", u32(LAYERS)],
    ["llama.context_length", u32(256)],
    ["llama.embedding_length", u32(HIDDEN)],
    ["llama.feed_forward_length", u32(HIDDEN)],
    ["llama.attention.head_count", u32(HEADS)],
    ["llama.attention.head_count_kv", u32(KV_HEADS)],
    ["llama.attention.layer_norm_rms_epsilon", f32(1e-5)],
    ...[...tokenizer].map(([key, value]): [string, Value] => [key, written(value)]),
  ];
  const tensors = [
    matrix("token_embd.weight", "Q6_K", VOCABULARY), // tied to the head
    norm("output_norm.weight"),
    ...Array.from({ length: LAYERS }, (_, i) => layer(i)).flat(),
  ];
  const bytes = new Uint8Array(writeGguf({ metadata, tensors }));
  return { ...memoryFolder("mixed", { "mixed.gguf": bytes }), list: async () => ["mixed.gguf"] };
}

function written(value: unknown): Value {
  if (value instanceof Float32Array) return numbers("f32", [...value]);
  if (value instanceof Int32Array) return numbers("i32", [...value]);
  return Array.isArray(value) ? texts(value) : String(value);
}

test("takes no more than 40 pipelines, and drafting changes no id", async () => {
  await using model = await load(mixed());
  expect(model.dtype).toBe("stored");
  expect(model.warnings).toEqual([]);
  const prompt = Array.from({ length: 40 }, (_, i) => (37 * i + 5) % VOCABULARY);
  const plain = await model.generate(prompt, { drafter: "none", maxTokens: 32 }).result();
  expect(new Set(plain.ids).size).toBeGreaterThan(3);
  for (const draftLength of DRAFT_LENGTHS) {
    const { ids, stats } = await model.generate(prompt, { exitLayer: 2, draftLength, maxTokens: 32 }).result();
    expect(ids).toEqual(plain.ids);
    expect(stats.pipelines, `draft length ${draftLength}`).toBeLessThanOrEqual(40);
  }
  await model.score(prompt); // whose head is one more
  const { stats } = await model.generate(prompt, { drafter: "none", maxTokens: 2 }).result();
  expect(stats.pipelines, "after scoring").toBeLessThanOrEqual(40);
});
