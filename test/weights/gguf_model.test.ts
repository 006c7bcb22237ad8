/**
 * What a GGUF file says of its model, in Hugging Face's words: converted and read again, every family is the model it was,
 * to the last bit of its weights on the GPU.
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { FileFormatError, UnsupportedModelError } from "../../src/errors.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { Device } from "../../src/gpu/device.ts";
import { decodeBlocks, randomBlocks } from "../../src/kernels/gguf_blocks.ts";
import { ropeRotations } from "../../src/kernels/rope.ts";
import { decodeMatrix } from "../../src/kernels/weight_codec.ts";
import type { ModelSpec, RopeScaling } from "../../src/model/spec.ts";
import { defaultGpu, openFolder } from "../../src/platform/node.ts";
import { type Checkpoint, openCheckpoint } from "../../src/weights/checkpoint.ts";
import { planWeights } from "../../src/weights/plan.ts";
import { uploadWeights } from "../../src/weights/upload.ts";
import { expectSameBits, type Words } from "../kernels/harness.ts";
import { memoryFolder } from "../memory_folder.ts";
import { type Converted, convert, convertToGguf } from "../reference/gguf_model.ts";
import { f32, number, numbers, u32, type Value, writeGguf } from "../reference/gguf_writer.ts";
import { Random } from "../reference/random.ts";
import { failure } from "./model_folder.ts";

const FAMILIES = join(import.meta.dirname, "../assets/families");

/** Opens GGUF bytes as a folder that has nothing else. */
async function openGguf(bytes: Uint8Array<ArrayBuffer>): Promise<Checkpoint> {
  return openCheckpoint({ ...memoryFolder("m", { "m.gguf": new Uint8Array(bytes) }), list: async () => ["m.gguf"] });
}

describe("every family, converted to GGUF", () => {
  let device: Device;
  beforeAll(async () => {
    device = await Device.open(await defaultGpu());
  });
  afterEach(() => device.ledger.releaseAll());
  afterAll(() => device.dispose());

  /** The weights of a checkpoint in f32 as they lie on the GPU, by the names of their buffers' places. */
  async function uploaded(checkpoint: Checkpoint): Promise<Map<string, Words>> {
    const plan = planWeights(checkpoint, { dtype: "f32", keepsBlocks: false }, device.ledger.bindableBytes);
    const weights = await uploadWeights(device, checkpoint, plan);
    const buffers = new Map<string, GPUBuffer>();
    const collect = (value: unknown, path: string) => {
      if (typeof value !== "object" || value === null) return;
      if (value instanceof GPUBuffer) buffers.set(path, value);
      else for (const [key, inner] of Object.entries(value)) collect(inner, `${path}.${key}`);
    };
    collect(weights, "weights");
    const contents = new Map<string, Words>();
    for (const [path, buffer] of buffers) contents.set(path, await words(buffer));
    device.ledger.releaseAll();
    return contents;
  }

  async function words(buffer: GPUBuffer): Promise<Words> {
    const { MAP_READ, COPY_DST } = GPUBufferUsage;
    const read = device.ledger.allocate("test", "read", buffer.size, MAP_READ | COPY_DST);
    const recorder = new Recorder(device.handle, "read");
    recorder.copy(buffer, 0, read, 0, buffer.size);
    device.submit(recorder);
    return new Uint32Array(await device.read(read, read.size));
  }

  test.each(readdirSync(FAMILIES))("%s", async (family) => {
    const folder = join(FAMILIES, family);
    const original = await openCheckpoint(openFolder(folder));
    const converted = await openGguf(convertToGguf(folder));
    try {
      expectSameModel(converted.spec, original.spec);
      const [expected, actual] = [await uploaded(original), await uploaded(converted)];
      expect([...actual.keys()]).toEqual([...expected.keys()]);
      expect(actual.size).toBeGreaterThan(8);
      for (const [path, bits] of expected) expectSameBits(actual.get(path)!, bits, path);
    } finally {
      await original.close();
      await converted.close();
    }
  });

  // WebGPU writes whole words only, so a chunk of them is padded.
  test("rows of blocks that are no whole words, and an odd number of them", async () => {
    const [hidden, vocabulary] = [32, 101]; // a row of Q8_0 is 34 bytes
    const matrix = (name: string, rows: number, random: () => number) => ({
      ...{ name, dtype: "Q8_0" as const, shape: [rows, hidden] },
      bytes: randomBlocks("Q8_0", rows, random, [10, 15]),
    });
    const norm = (name: string) => ({
      ...{ name, dtype: "F32" as const, shape: [hidden] },
      bytes: new Uint8Array(new Float32Array(hidden).fill(1).buffer),
    });
    const random = new Random(5);
    const uniform = () => random.uniform();
    const layer = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    const embedding = matrix("token_embd.weight", vocabulary, uniform);
    const file = writeGguf({
      metadata: [
        ["general.architecture", "llama"],
        ...Object.entries({
          ...{ block_count: 1, context_length: 16, embedding_length: hidden, feed_forward_length: hidden },
          "attention.head_count": 2,
        }).map(([key, value]) => [`llama.${key}`, u32(value)] as const),
        ["llama.attention.layer_norm_rms_epsilon", f32(1e-5)],
      ],
      tensors: [
        embedding,
        norm("output_norm.weight"),
        ...["attn_norm", "ffn_norm"].map((name) => norm(`blk.0.${name}.weight`)),
        ...layer.map((name) => matrix(`blk.0.${name}.weight`, hidden, uniform)),
      ],
    });
    const checkpoint = await openGguf(file);
    const plan = planWeights(checkpoint, { dtype: "f32", keepsBlocks: false }, device.ledger.bindableBytes);
    const { embedding: parts } = await uploadWeights(device, checkpoint, plan);
    expect(parts).toHaveLength(1);
    const { format, weight, scales } = parts[0]!;
    const held = decodeMatrix(format, await words(weight), await words(scales), hidden, vocabulary);
    const positiveZeros = (numbers: Float64Array) => [...numbers].map((x) => x + 0);
    expect(positiveZeros(held)).toEqual(positiveZeros(decodeBlocks("Q8_0", embedding.bytes)));
  });

  /** Fails unless two models compute the same. */
  function expectSameModel(actual: ModelSpec, expected: ModelSpec): void {
    // What GGUF does not tell, or tells in another way: Mistral is a Llama there, without its window.
    const isMistral = expected.family === "mistral";
    const told = ({ attention, eosTokenIds, normsAddOne, family, ...spec }: ModelSpec) => spec;
    expect(told(actual)).toEqual(told(expected));
    expect(actual.family).toBe(isMistral ? "llama" : expected.family);
    expect(actual.normsAddOne).toBe(false);
    for (const [layer, { window, rope }] of expected.attention.entries()) {
      const own = actual.attention[layer]!;
      expect(own.window, `window of layer ${layer}`).toBe(isMistral ? undefined : window);
      expect(own.rope === undefined).toBe(rope === undefined);
      const rotations = ropeRotations(expected.maxPositionEmbeddings, expected.headDim, rope);
      for (const [i, value] of ropeRotations(actual.maxPositionEmbeddings, actual.headDim, own.rope).entries()) {
        if (Math.abs(value - rotations[i]!) > 1e-4) expect.fail(`layer ${layer}: rotation ${i} is ${value}`);
      }
    }
  }
});

/** A converted family with metadata changed; undefined takes an entry away. */
function edited(family: string, changes: Record<string, Value | undefined>, edit?: (parts: Converted) => void) {
  const parts = convert(join(FAMILIES, family));
  const metadata = new Map(parts.metadata);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) metadata.delete(key);
    else metadata.set(key, value);
  }
  const changed = { ...parts, metadata: [...metadata] };
  edit?.(changed);
  return openGguf(writeGguf(changed));
}

const scalingOf = (spec: ModelSpec): RopeScaling | undefined => spec.attention[0]?.rope?.scaling;

describe("settings of single architectures", () => {
  test("what llama.cpp takes where a file says nothing", async () => {
    const { spec } = await edited("llama", {
      "llama.rope.freq_base": undefined,
      "llama.attention.key_length": undefined,
    });
    expect(spec.attention[0]!.rope!.ropeTheta).toBe(10000);
    expect(spec.headDim).toBe(16);
    const mha = await edited("llama-mha-bf16-sharded", { "llama.attention.head_count_kv": undefined });
    expect(mha.spec.kvHeads).toBe(4);
    const qwen = await edited("qwen2", { "qwen2.attention.head_count_kv": u32(2), "qwen2.rope.freq_base": undefined });
    expect(qwen.spec.attention[0]!.rope!.ropeTheta).toBe(10000);
    const gemma = await edited("gemma2", {
      "gemma2.attn_logit_softcapping": undefined,
      "gemma2.final_logit_softcapping": undefined,
      "gemma2.attention.sliding_window": undefined,
    });
    expect(gemma.spec).toMatchObject({ attentionSoftCap: 50, logitSoftCap: 30 });
    expect(gemma.spec.attention.map(({ window }) => window)).toEqual([4096, undefined, 4096, undefined]);
    const granite = await edited("granite", { "granite.attention.scale": undefined });
    expect(granite.spec.attentionScale).toBe(0.25);
  });

  test("a number for each layer is one number where all are the same", async () => {
    const { spec } = await edited("llama", { "llama.attention.head_count_kv": numbers("u32", [2, 2, 2, 2]) });
    expect(spec.kvHeads).toBe(2);
  });

  test("Gemma's layers with a window: by a list, by a period, or none", async () => {
    const windows = async (changes: Record<string, Value | undefined>) =>
      (await edited("gemma3", changes)).spec.attention.map(({ window }) => window !== undefined);
    const pattern = "gemma3.attention.sliding_window_pattern";
    expect(await windows({})).toEqual([true, true, true, true, true, false, true]);
    expect(await windows({ [pattern]: u32(3) })).toEqual([true, true, false, true, true, false, true]);
    expect(await windows({ [pattern]: numbers("bool", [0, 1, 0, 0, 0, 0, 1]) })).toEqual(
      [0, 1, 0, 0, 0, 0, 1].map((slides) => slides === 1),
    );
    expect(await windows({ "gemma3.attention.sliding_window": undefined })).toEqual(Array(7).fill(false));
    const base = await edited("gemma3", { "gemma3.rope.freq_base_swa": f32(5000) });
    expect(base.spec.attention.map(({ rope }) => rope!.ropeTheta)).toEqual([5e3, 5e3, 5e3, 5e3, 5e3, 1e6, 5e3]);
  });

  test("Gemma's largest models divide their scores by another number", async () => {
    const { spec } = await edited("gemma2", { "gemma2.block_count": u32(46) }, ({ tensors }) => {
      const layer = tensors.filter(({ name }) => name.startsWith("blk.0."));
      for (let i = 4; i < 46; i++) {
        tensors.push(...layer.map((tensor) => ({ ...tensor, name: tensor.name.replace("blk.0.", `blk.${i}.`) })));
      }
    });
    expect(spec.attentionScale).toBe((64 / 4) ** -0.5);
  });

  test("a part of a head that is rotated", async () => {
    const { spec } = await edited("phi3", { "phi3.rope.dimension_count": u32(12) });
    expect(spec.attention[0]!.rope!.rotaryDim).toBe(12);
  });
});

describe("RoPE's scaling", () => {
  const scaling = async (changes: Record<string, Value | undefined>, edit?: (parts: Converted) => void) =>
    scalingOf((await edited("qwen2", changes, edit)).spec);
  const own = (key: string) => `qwen2.rope.scaling.${key}`;
  const list = (name: string, values: number[]) => ({
    ...{ name, dtype: "F32" as const, shape: [values.length] },
    bytes: new Uint8Array(Float32Array.from(values).buffer),
  });
  const [SHORT, LONG] = [
    [1, 1.25, 1.5, 2, 2, 3, 4, 5],
    [2, 4, 6, 8, 10, 12, 14, 16],
  ];

  test("none, linear, and linear as the first files have it", async () => {
    expect(await scaling({ [own("type")]: "none", [own("factor")]: f32(4) })).toEqual({ type: "default" });
    expect(await scaling({ [own("type")]: "linear" })).toEqual({ type: "default" });
    expect(await scaling({ [own("type")]: "linear", [own("factor")]: f32(4) })).toEqual({ type: "linear", factor: 4 });
    expect(await scaling({ "qwen2.rope.scale_linear": f32(2) })).toEqual({ type: "linear", factor: 2 });
  });

  test("YaRN, with all it can be told", async () => {
    const plain = {
      [own("type")]: "yarn",
      [own("factor")]: f32(4),
      [own("original_context_length")]: u32(128),
    };
    const attention = 0.1 * Math.log(4) + 1;
    const expected = { type: "yarn", factor: 4, originalMaxPositionEmbeddings: 128, truncate: true };
    expect(await scaling(plain)).toEqual({ ...expected, betaFast: 32, betaSlow: 1, attentionFactor: attention });
    const betas = { [own("yarn_beta_fast")]: f32(16), [own("yarn_beta_slow")]: f32(2) };
    expect(await scaling({ ...plain, ...betas })).toMatchObject({ betaFast: 16, betaSlow: 2 });
    expect(await scaling({ ...plain, [own("yarn_attn_factor")]: f32(1.5) })).toMatchObject({ attentionFactor: 1.5 });
    const factor = (await scaling({ ...plain, [own("attn_factor")]: f32(0.5) })) as { attentionFactor: number };
    expect(factor.attentionFactor).toBeCloseTo(attention / 2, 10);
    expect(await scaling({ ...plain, [own("yarn_log_multiplier")]: f32(1) })).toMatchObject({ attentionFactor: 1 });
    expect(await scaling({ ...plain, [own("yarn_ext_factor")]: f32(-1) })).toMatchObject({ type: "yarn" });
    expect(await scaling({ [own("yarn_ext_factor")]: f32(0) })).toEqual({ type: "default" });
  });

  test("LongRoPE, from two tensors of divisors", async () => {
    const found = await scaling(
      { [own("original_context_length")]: u32(64), [own("attn_factor")]: f32(1.25) },
      ({ tensors }) => {
        tensors.push(list("rope_factors_long.weight", LONG!), list("rope_factors_short.weight", SHORT!));
      },
    );
    expect(found).toEqual({
      ...{ type: "longrope", shortFactor: SHORT, longFactor: LONG },
      ...{ originalMaxPositionEmbeddings: 64, attentionFactor: 1.25 },
    });
  });

  test("divisors that are one list serve every length", async () => {
    const found = await scaling({ [own("original_context_length")]: u32(64) }, ({ tensors }) => {
      tensors.push(list("rope_freqs.weight", SHORT!));
    });
    expect(found).toMatchObject({ type: "longrope", shortFactor: SHORT, longFactor: SHORT, attentionFactor: 1 });
  });

  test("divisors that are too many, or no numbers in F32", async () => {
    const push = (tensor: Converted["tensors"][number]) => (parts: Converted) => void parts.tensors.push(tensor);
    const many = list("rope_freqs.weight", [...SHORT!, 1]);
    expect(await failure(edited("qwen2", {}, push(many)))).toMatchObject({ field: "rope_freqs.weight" });
    const lists = (parts: Converted) => {
      parts.tensors.push(list("rope_factors_long.weight", LONG!.slice(1)), list("rope_factors_short.weight", SHORT!));
    };
    expect(await failure(edited("qwen2", {}, lists))).toMatchObject({ field: "rope_factors_long.weight" });
    const halves = { ...list("rope_freqs.weight", []), dtype: "F16" as const, shape: [8], bytes: new Uint8Array(16) };
    expect(await failure(edited("qwen2", {}, push(halves)))).toMatchObject({ field: "rope_freqs.weight" });
    const huge = { ...list("rope_freqs.weight", []), shape: [2 ** 13], bytes: new Uint8Array(2 ** 15) };
    expect(await failure(edited("qwen2", {}, push(huge)))).toMatchObject({ field: "rope_freqs.weight" });
  });
});

describe("a tensor is named as the file names it", () => {
  test.each(readdirSync(FAMILIES))("%s: one that is missing, and one of another shape", async (family) => {
    const { tensors } = convert(join(FAMILIES, family));
    const needed = tensors
      .map(({ name }) => name)
      .filter((name) => /^(blk\.1\.|token|output_norm).*weight$/.test(name));
    expect(needed.length).toBeGreaterThan(7);
    for (const wanted of needed) {
      const without = edited(family, {}, (parts) => {
        parts.tensors = parts.tensors.filter(({ name }) => name !== wanted);
      });
      expect(await failure(without)).toMatchObject({ name: "FileFormatError", field: wanted, found: "no such tensor" });
      if (wanted === "token_embd.weight") continue; // whose shape is the vocabulary
      const wrong = edited(family, {}, (parts) => {
        const tensor = parts.tensors.find(({ name }) => name === wanted)!;
        tensor.shape = [Number(tensor.shape[0]) / 2, ...tensor.shape.slice(1)];
        tensor.bytes = tensor.bytes.slice(0, tensor.bytes.length / 2);
      });
      expect(await failure(wrong)).toMatchObject({
        ...{ name: "FileFormatError", file: "m/m.gguf", field: `${wanted}.shape` },
        expected: expect.stringMatching(/, as the metadata implies$/),
      });
    }
  });
});

describe("what the engine does not have is refused", () => {
  const cases: [string, string, Record<string, Value | undefined>, string, RegExp][] = [
    [
      "another architecture",
      "llama",
      { "general.architecture": "mamba" },
      "general.architecture",
      /"mamba".*llama, qwen2/,
    ],
    [
      "an architecture of JavaScript's",
      "llama",
      { "general.architecture": "toString" },
      "general.architecture",
      /toString/,
    ],
    ["no architecture", "llama", { "general.architecture": undefined }, "general.architecture", /found nothing/],
    ["experts", "llama", { "llama.expert_count": u32(8) }, "llama.expert_count", /found 8, expected 0/],
    ["an encoder", "llama", { "llama.attention.causal": false }, "llama.attention.causal", /found false/],
    [
      "values of another size",
      "llama",
      { "llama.attention.value_length": u32(8) },
      "llama.attention.value_length",
      /8.*16/,
    ],
    [
      "layers of different sizes",
      "llama",
      { "llama.feed_forward_length": numbers("i32", [176, 176, 88, 176]) },
      "llama.feed_forward_length",
      /\[176, 176, 88, 176\]/,
    ],
    [
      "a YaRN mixed with none",
      "llama",
      { "llama.rope.scaling.type": "yarn", "llama.rope.scaling.yarn_ext_factor": f32(0.5) },
      "llama.rope.scaling.yarn_ext_factor",
      /found 0.5, expected 1/,
    ],
    ["one file of several", "llama", { "split.count": number("u16", 3) }, "split.count", /found 3/],
    ["OLMo 3", "olmo2", { "olmo2.attention.sliding_window": u32(4096) }, "olmo2.attention.sliding_window", /4096/],
    [
      "Granite without RoPE",
      "granite",
      { "granite.rope.scaling.finetuned": false },
      "granite.rope.scaling.finetuned",
      /false/,
    ],
    ["a RoPE of another kind", "llama", { "llama.rope.scaling.type": "ntk" }, "llama.rope.scaling.type", /"ntk"/],
  ];
  test.each(cases)("%s", async (_, family, changes, field, message) => {
    const error = await failure(edited(family, changes));
    expect(error).toBeInstanceOf(UnsupportedModelError);
    expect(error).toMatchObject({ file: "m/m.gguf", field });
    expect((error as Error).message).toMatch(message);
  });

  test("a file without an embedding, or with a setting that is no number", async () => {
    const none = edited("llama", {}, (parts) => {
      parts.tensors = parts.tensors.filter(({ name }) => name !== "token_embd.weight");
    });
    expect(await failure(none)).toMatchObject({ name: "FileFormatError", field: "token_embd.weight" });
    for (const [key, value] of [
      ["llama.block_count", "four"],
      ["llama.block_count", f32(1e9)],
      ["llama.embedding_length", u32(0)],
      ["llama.attention.head_count", u32(0)],
      ["llama.rope.dimension_count", u32(0)],
      ["llama.rope.dimension_count", u32(3)],
      ["llama.rope.freq_base", f32(-1)],
      ["llama.context_length", undefined],
    ] as [string, Value | undefined][]) {
      const error = await failure(edited("llama", { [key]: value }));
      expect(error, key).toMatchObject({ name: "FileFormatError", file: "m/m.gguf", field: key });
    }
    // The family has defaults for them, which are of one model and not of this file.
    for (const key of ["context_length", "attention.head_count", "attention.layer_norm_rms_epsilon"]) {
      const error = await failure(edited("gemma3", { [`gemma3.${key}`]: undefined }));
      expect(error).toMatchObject({ name: "FileFormatError", field: `gemma3.${key}`, found: "nothing" });
    }
    const gemma = edited("gemma3", { "gemma3.block_count": u32(2 ** 31) });
    expect(await failure(gemma)).toBeInstanceOf(FileFormatError);
  });
});
