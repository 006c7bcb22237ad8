/**
 * A GGUF file whose tensors are of different block types, as its makers mix them: values better than queries and keys, some
 * layers' projections better than others. What is one product of one format has several then, and the logits must be those of
 * the same numbers in f32.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { score } from "../../src/decode/score.ts";
import { decodeBlocks, randomBlocks } from "../../src/kernels/gguf_blocks.ts";
import type { GgufBlockType } from "../../src/kernels/source_type.ts";
import type { Folder } from "../../src/weights/source.ts";
import { type Engine, openEngine } from "../engine.ts";
import { expectSameBits } from "../kernels/harness.ts";
import { memoryFolder, safetensors } from "../memory_folder.ts";
import { relativeError } from "../reference/compare.ts";
import { f32, u32, type WrittenTensor, writeGguf } from "../reference/gguf_writer.ts";
import type { Tensor } from "../reference/safetensors.ts";

const HIDDEN = 256;
/** Odd: the rows of a block type then end within a word. */
const VOCABULARY = 97;
const [HEADS, KV_HEADS] = [4, 2];

/** Block types of a layer's tensors: every product of several tensors is mixed in one of the layers. */
const LAYERS = [
  { q: "Q4_K", k: "Q4_K", v: "Q6_K", o: "Q5_0", gate: "Q4_K", up: "Q4_K", down: "Q3_K" },
  { q: "Q8_0", k: "IQ4_XS", v: "Q4_1", o: "Q2_K", gate: "Q5_K", up: "Q4_0", down: "IQ4_NL" },
] as const;

const NAMES = {
  q: ["attn_q", "self_attn.q_proj", HIDDEN],
  k: ["attn_k", "self_attn.k_proj", HIDDEN / 2],
  v: ["attn_v", "self_attn.v_proj", HIDDEN / 2],
  o: ["attn_output", "self_attn.o_proj", HIDDEN],
  gate: ["ffn_gate", "mlp.gate_proj", HIDDEN],
  up: ["ffn_up", "mlp.up_proj", HIDDEN],
  down: ["ffn_down", "mlp.down_proj", HIDDEN],
} as const;

/** The same Qwen 2 twice: in blocks, and what the blocks stand for in f32. */
function models(): { blocks: Folder; floats: Folder } {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const written: WrittenTensor[] = [];
  const tensors = new Map<string, Tensor>();
  const add = (gguf: string, name: string, shape: number[], type: "F32" | GgufBlockType) => {
    const count = shape.reduce((a, b) => a * b, 1);
    if (type === "F32") {
      const values = Float32Array.from({ length: count }, () => random() - 0.5);
      written.push({ name: gguf, dtype: "F32", shape, bytes: new Uint8Array(values.buffer) });
      tensors.set(name, { shape, values });
      return;
    }
    const perBlock = decodeBlocks(type, randomBlocks(type, 1, random)).length;
    const bytes = randomBlocks(type, count / perBlock, random, [5, 8]);
    written.push({ name: gguf, dtype: type, shape, bytes });
    tensors.set(name, { shape, values: Float32Array.from(decodeBlocks(type, bytes)) });
  };
  add("token_embd.weight", "model.embed_tokens.weight", [VOCABULARY, HIDDEN], "F32");
  add("output.weight", "lm_head.weight", [VOCABULARY, HIDDEN], "Q6_K");
  add("output_norm.weight", "model.norm.weight", [HIDDEN], "F32");
  for (const [i, types] of LAYERS.entries()) {
    const layer = `model.layers.${i}`;
    for (const [key, [gguf, name, rows]] of Object.entries(NAMES)) {
      add(`blk.${i}.${gguf}.weight`, `${layer}.${name}.weight`, [rows, HIDDEN], types[key as keyof typeof types]);
      if (key === "q" || key === "k" || key === "v")
        add(`blk.${i}.${gguf}.bias`, `${layer}.${name}.bias`, [rows], "F32");
    }
    add(`blk.${i}.attn_norm.weight`, `${layer}.input_layernorm.weight`, [HIDDEN], "F32");
    add(`blk.${i}.ffn_norm.weight`, `${layer}.post_attention_layernorm.weight`, [HIDDEN], "F32");
  }
  const metadata = {
    "general.architecture": "qwen2",
    "qwen2.block_count": u32(LAYERS.length),
    "qwen2.context_length": u32(64),
    "qwen2.embedding_length": u32(HIDDEN),
    "qwen2.feed_forward_length": u32(HIDDEN),
    "qwen2.attention.head_count": u32(HEADS),
    "qwen2.attention.head_count_kv": u32(KV_HEADS),
    "qwen2.attention.layer_norm_rms_epsilon": f32(1e-6),
    "qwen2.rope.freq_base": f32(1e6),
  };
  const config = {
    ...{ model_type: "qwen2", vocab_size: VOCABULARY, hidden_size: HIDDEN, intermediate_size: HIDDEN },
    ...{ num_hidden_layers: LAYERS.length, num_attention_heads: HEADS, num_key_value_heads: KV_HEADS },
    ...{ max_position_embeddings: 64, rms_norm_eps: 1e-6, rope_theta: 1e6, tie_word_embeddings: false },
  };
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const gguf = new Uint8Array(writeGguf({ metadata, tensors: written }));
  return {
    blocks: { ...memoryFolder("blocks", { "m.gguf": gguf }), list: async () => ["m.gguf"] },
    floats: memoryFolder("floats", {
      "config.json": json(config),
      "tokenizer.json": json({}),
      "model.safetensors": safetensors(tensors),
    }),
  };
}

describe("blocks of different types in one model", () => {
  const ids = Array.from({ length: 23 }, (_, i) => (i * 37 + 5) % VOCABULARY);
  let blocks: Engine;
  let floats: Engine;
  beforeAll(async () => {
    const folders = models();
    [blocks, floats] = await Promise.all([
      openEngine(folders.blocks, 64, { keepsBlocks: true }),
      openEngine(folders.floats, 64),
    ]);
  });
  afterAll(() => {
    blocks.device.dispose();
    floats.device.dispose();
  });

  const logits = ({ device, forward, table, spec }: Engine, regime: "prompt" | "generated", rowsPerPass?: number) =>
    score(device, forward, table, {
      ...{ ids, at: ids.map((_, i) => i), exitLayer: spec.layers, regime },
      ...(rowsPerPass && { rowsPerPass }),
    });

  test("queries and keys of one format are one matrix, values of another are another", () => {
    expect(blocks.weights.layers.map(({ qkv }) => qkv.length)).toEqual([2, 3]);
    const types = blocks.weights.layers.map(({ gateUp, ungated }) =>
      [gateUp, ungated].map((of) => of.map(({ format }) => format.type)),
    );
    expect(types).toEqual([
      [["q4"], []],
      [[], ["q8", "q4"]],
    ]);
    expect(floats.weights.layers.map(({ qkv }) => qkv.length)).toEqual([1, 1]);
  });

  test.each(["prompt", "generated"] as const)(
    "%s rows: the logits are those of the same numbers in f32",
    async (regime) => {
      const [got, expected] = await Promise.all([logits(blocks, regime), logits(floats, regime)]);
      for (const [i, row] of got.entries()) {
        expect(row.some((logit) => Math.abs(logit) > 0.1)).toBe(true);
        expect(relativeError(row, expected[i]!).error).toBeLessThan(1e-4);
      }
    },
  );

  test("generated rows have the same bits alone and together", async () => {
    const alone = await logits(blocks, "generated", 1);
    const together = await logits(blocks, "generated", 5);
    for (const [i, row] of together.entries()) {
      expectSameBits(new Uint32Array(row.slice().buffer), new Uint32Array(alone[i]!.slice().buffer), `row ${i}`);
    }
  });
});
