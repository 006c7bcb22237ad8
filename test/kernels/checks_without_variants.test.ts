/**
 * The self-checks of the kernels without variants: right ones pass on this device, wrong ones fail a load and are named.
 */

import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { GpuError } from "../../src/errors.ts";
import type { Device } from "../../src/gpu/device.ts";
import { load } from "../../src/index.ts";
import { bestChoice } from "../../src/kernels/choice.ts";
import { chooseKernels, type KernelNeeds } from "../../src/kernels/choose.ts";
import { Embedding } from "../../src/kernels/embedding.ts";
import { checkEmbedding } from "../../src/kernels/embedding_check.ts";
import { SelectDraft, SelectTarget } from "../../src/kernels/layer_skip.ts";
import { ManyRowMatmul } from "../../src/kernels/many_row_matmul.ts";
import { checkAddNormed, checkRmsNorm } from "../../src/kernels/norm_check.ts";
import { checkPlaceHeads } from "../../src/kernels/place_heads_check.ts";
import { type Conversion, checkRepack } from "../../src/kernels/repack_check.ts";
import { RmsNorm } from "../../src/kernels/rms_norm.ts";
import { checkSelection } from "../../src/kernels/selection_check.ts";
import { formatName } from "../../src/kernels/weight_format.ts";
import { readModelSpec } from "../../src/model/config.ts";
import type { TensorSpec } from "../../src/model/spec.ts";
import { defaultGpu, openFolder } from "../../src/platform/node.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { conversionsOf } from "../../src/weights/conversions.ts";
import { formatsOf } from "../../src/weights/dtype.ts";
import { planWeights } from "../../src/weights/plan.ts";
import type { WeightTensor } from "../../src/weights/source.ts";
import { uploadWeights } from "../../src/weights/upload.ts";
import { STORIES } from "../memory_folder.ts";
import { fullMatrix } from "../slow.ts";
import { openBench } from "./harness.ts";
import { FORMATS, formatOf, HEADS, headShapeOf, layerKinds } from "./matmul_inputs.ts";
import { altered, type Change, miscompiling } from "./miscompile.ts";

const bench = openBench();

const CONFIG: object = JSON.parse(readFileSync(`${STORIES}config.json`, "utf8"));

afterEach(() => expect(bench.device.ledger.report().buffers, "buffers that a check left behind").toBe(0));

const TYPES = ["F32", "F16", "BF16"] as const;
const NAMED = FORMATS.map((format) => [formatName(format), format] as const);

describe("a right kernel passes", () => {
  test.each(NAMED)("repacking to %s, from every type", async (_, format) => {
    for (const type of TYPES) await checkRepack(bench.device, { type, format });
  });

  test.each(NAMED)("the embedding in %s", (_, format) => checkEmbedding(bench.device, format));

  test("the final norm", () => checkRmsNorm(bench.device));

  test("the norm of a block's output", () => checkAddNormed(bench.device));

  test.each(fullMatrix({ norm: ["head", "row"], kv: ["f32", "f16"] }))(
    "heads, each $norm normed, KV $kv",
    async ({ norm, kv }) => {
      for (const heads of HEADS) {
        for (const headDim of [8, 80, 256]) {
          await checkPlaceHeads(bench.device, headShapeOf(heads, headDim), kv, norm);
        }
      }
    },
  );

  test("selection", () => checkSelection(bench.device));
});

/** More elements than a workgroup has threads, of a head and of all together. */
const MANY_HEADS = headShapeOf("9/3", 80);

const Q8 = formatOf("q8 symmetric");
const Q4 = formatOf("q4 symmetric");
const Q4_MINIMUM = formatOf("q4 minimum", "16 f32");

/** What a check is asked, the kernel that is broken and how, and what is said of it. */
const FAULTS: Record<
  string,
  { check: (device: Device) => Promise<void>; kernel: string; change: Change; said: RegExp }
> = {
  "f32 in the next column": {
    check: (device) => checkRepack(device, { type: "F32", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["shape.firstColumn + n;", "shape.firstColumn + (n + 1) % shape.rows;"],
    said: /F32 to f32: column 2, element 0: .*, expected/,
  },
  "a matrix whose beginning is not where it should be": {
    check: (device) => checkRepack(device, { type: "BF16", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["return shape.firstColumn + n;", "return n;"],
    said: /BF16 to f32: column 0, element 0: .*, expected/,
  },
  "bf16 read as the other half": {
    check: (device) => checkRepack(device, { type: "BF16", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["vec4u(words.x & 0xffff, words.x >> 16,", "vec4u(words.x >> 16, words.x & 0xffff,"],
    said: /BF16 to f32: column 2, element 0: .*, expected/,
  },
  "f16 cut, not rounded": {
    check: (device) => checkRepack(device, { type: "F32", format: { type: "f16" } }),
    kernel: "weights/repack f16",
    change: ["- vec4u(1) + odd) >> shift", "- (vec4u(1) << (shift - vec4u(1)))) >> shift"],
    said: /F32 to f16: column 2, element \d+: .*, expected/,
  },
  "subnormal halves lost": {
    check: (device) => checkRepack(device, { type: "F16", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["vec4f(fraction) * 5.9604644775390625e-8", "vec4f(fraction) * 0.0"],
    said: /F16 to f32: column 2, element \d+: 0, expected/,
  },
  "a padding that is not zero": {
    check: (device) => checkRepack(device, { type: "F16", format: { type: "f16" } }),
    kernel: "weights/repack f16",
    change: ["return vec4u(0);", "return vec4u(1);"],
    said: /F16 to f16: weight, word \d+: \d+, expected \d+$/,
  },
  "8-bit codes cut, not rounded": {
    check: (device) => checkRepack(device, { type: "BF16", format: Q8 }),
    kernel: "weights/quantise q8 symmetric",
    change: ["round((values - minimum) / scale)", "floor((values - minimum) / scale - 0.25)"],
    said: /BF16 to q8\/32 symmetric f16: column 2, element \d+: -?\d+, expected -?\d+$/,
  },
  "a scale of the wrong sign": {
    check: (device) => checkRepack(device, { type: "F16", format: Q4 }),
    kernel: "weights/quantise q4 symmetric",
    change: ["high >= -low || TWO_SIDED == 1", "high >= low"],
    said: /F16 to q4\/32 symmetric f16: column 2, element \d+: -?\d+, expected -?\d+$/,
  },
  "the second of two scales in the place of the first": {
    check: (device) => checkRepack(device, { type: "F32", format: Q8 }),
    kernel: "weights/quantise q8 symmetric",
    change: ["stored.x << (16 * i)", "stored.x << (16 * (1 - i))"],
    said: /F32 to q8\/32 symmetric f16: column 2, scale 0: .*, expected/,
  },
  "a minimum that is a little too low": {
    check: (device) => checkRepack(device, { type: "F32", format: Q4_MINIMUM }),
    kernel: "weights/quantise q4 minimum",
    change: ["scales[2 * at + 1] = stored.y;", "scales[2 * at + 1] = stored.y + 1;"],
    said: /F32 to q4\/16 minimum f32: column 2, minimum \d: .*, expected/,
  },
  "the embedding of the next id": {
    check: (device) => checkEmbedding(device, Q8),
    kernel: "embedding q8/32 symmetric f16",
    change: ["- shape.firstId;", "- shape.firstId + 1;"],
    said: /stream, row 1, number \d+: .*, expected/,
  },
  "an embedding without its factor": {
    check: (device) => checkEmbedding(device, { type: "f32" }),
    kernel: "embedding f32",
    change: [" * shape.embeddingScale;", ";"],
    said: /stream, row 1, number \d+: .*, expected/,
  },
  "an embedding without the norm's weight": {
    check: (device) => checkEmbedding(device, { type: "f16" }),
    kernel: "embedding f16",
    change: ["= x * normWeight[k];", "= x;"],
    said: /stream, row 1, number \d+: .*, expected/,
  },
  "an id of another part embedded": {
    check: (device) => checkEmbedding(device, { type: "f32" }),
    kernel: "embedding f32",
    change: [
      "min(rows[row].token, shape.vocabSize - 1) - shape.firstId;",
      "max(rows[row].token, shape.firstId) - shape.firstId;",
    ],
    said: /stream, row [56], number \d+: .*, expected/,
  },
  "rows behind the range embedded": {
    check: (device) => checkEmbedding(device, { type: "f32" }),
    kernel: "embedding f32",
    change: ["id.y >= range.count", "id.y > range.count"],
    said: /stream, row 7, number \d+: .*, expected 77$/,
  },
  "a norm of the shares of some threads": {
    check: checkRmsNorm,
    kernel: "rms_norm",
    change: ["var t = 0u; t < WORKGROUP;", "var t = 0u; t < WORKGROUP - 1;"],
    said: /normed, row 1, number \d+: .*, expected .* within/,
  },
  "a norm without epsilon": {
    check: checkRmsNorm,
    kernel: "rms_norm",
    change: [" + shape.epsilon)", ")"],
    said: /normed, row [12], number \d+: .*, expected .* within/,
  },
  "the last numbers of a row not normed": {
    check: checkRmsNorm,
    kernel: "rms_norm",
    change: [
      "hidden[base + k] * scale * weight[k];",
      "select(0.0, scale, k < WORKGROUP) * hidden[base + k] * weight[k];",
    ],
    said: /normed, row 1, number \d+: 0, expected/,
  },
  "a block's output normed by the shares of some threads": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["var t = 0u; t < WORKGROUP;", "var t = 1u; t < WORKGROUP;"],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "a block's output normed without epsilon": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: [" + shape.epsilon)", ")"],
    said: /stream, row [12], number \d+: .*, expected .* within/,
  },
  "a block's output in the place of the stream": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["let total = stream[to] + ", "let total = "],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "the next norm's weight left out": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["= total * nextWeight[k];", "= total;"],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "the last numbers of a block's output not added": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["    stream[to] = total;", "    if (k < WORKGROUP) { stream[to] = total; }"],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "a block's output added to the row behind the range": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["group.x >= range.count", "group.x > range.count"],
    said: /stream, row 4, number \d+: .*, expected -?[\d.]+$/,
  },
  "heads normed by the shares of some threads": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["var t = 0u; t < WORKGROUP;", "var t = 0u; t < WORKGROUP - 1;"],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "heads normed without epsilon": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f16", "row"),
    kernel: "attention/place_heads f16",
    change: [" + shape.epsilon)", ")"],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "each head normed by itself where all are normed together": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "row"),
    kernel: "attention/place_heads f32",
    change: [
      "let normSize = select(headDim, select(shape.kvHeads, shape.heads, isQuery) * headDim, shape.together == 1);",
      "let normSize = headDim;",
    ],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "keys weighed as queries": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["x *= vec2f(keyNorm[at], keyNorm[at + shape.halfDim]);", "x *= vec2f(queryNorm[at], keyNorm[at]);"],
    said: /keys, number \d+: .*, expected .* within/,
  },
  "heads rotated by their slots": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["rotations[place.position * shape.halfDim", "rotations[place.slot * shape.halfDim"],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "keys in the place of their positions": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f16", "head"),
    kernel: "attention/place_heads f16",
    change: ["writeKey(place.slot *", "writeKey(place.position *"],
    said: /keys, number \d+: .*, expected/,
  },
  "values normed as keys are": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f16", "head"),
    kernel: "attention/place_heads f16",
    change: [
      "writeValue(kvHead, pair, vec2f(projected[begin + pair], ",
      "writeValue(kvHead, pair, vec2f(projected[begin + pair] * keyNorm[pair], ",
    ],
    said: /values, number \d+: .*, expected .* within/,
  },
  "the last pairs of a head left out": {
    check: (device) => checkPlaceHeads(device, { heads: 1, kvHeads: 1, headDim: 136 }, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: [
      "for (var pair = thread; pair < shape.halfDim; pair += WORKGROUP) {\n    let at",
      "for (var pair = thread; pair < WORKGROUP; pair += WORKGROUP) {\n    let at",
    ],
    said: /queries, number 200: 77, expected .* within/,
  },
  "heads of the row behind the range": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["group.y >= range.count", "group.y > range.count"],
    said: /queries, number \d+: .*, expected 77$/,
  },
  "a tie within a thread that goes to the first": {
    check: checkSelection,
    kernel: "layer_skip/select_target",
    change: [
      "best = better(best, candidates[row * count + i]);",
      "let next = candidates[row * count + i]; if (next.logit > best.logit) { best = next; }",
    ],
    said: /id after row 3: 905, expected 903$/,
  },
  "a tie between threads that goes to the first": {
    check: checkSelection,
    kernel: "layer_skip/select_target",
    change: ["best = better(best, bests[t]);", "if (bests[t].logit > best.logit) { best = bests[t]; }"],
    said: /id after row 4: 909, expected 907$/,
  },
  "a draft's tie that goes to the highest id": {
    check: checkSelection,
    kernel: "layer_skip/select_draft",
    change: ["next.id + 1 < best.id + 1", "next.id > best.id"],
    said: /row 4, word 0: 905, expected 903$/,
  },
  "the draft of the row after": {
    check: checkSelection,
    kernel: "layer_skip/select_draft",
    change: ["rows[range.first + 1].token", "rows[range.first].token"],
    said: /row 3, word 0: 903, expected 7777$/,
  },
  "what is no number, of which only the logit counts": {
    check: checkSelection,
    kernel: "layer_skip/select_target",
    change: ["next.id + 1 < best.id + 1", "next.id < best.id"],
    said: /id after row 6: 3, expected 4294967295$/,
  },
};

/** A device that breaks one kernel. */
function breaking(device: Device, kernel: string, change: Change): Device {
  return miscompiling(device, ({ name }) => (name === kernel ? [change] : []));
}

describe("a wrong kernel is named, with the first number that is wrong", () => {
  test.each(Object.entries(FAULTS))("%s", async (_, { check, kernel, change, said }) => {
    await check(bench.device);
    const error: unknown = await check(breaking(bench.device, kernel, change)).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(GpuError);
    expect((error as GpuError).kernel).toBe(kernel);
    expect((error as GpuError).message).toMatch(`${kernel}: it computes wrong numbers on this device: `);
    expect((error as GpuError).message).toMatch(said);
  });
});

describe("chooseKernels", () => {
  const CONVERSIONS: Conversion[] = [
    { type: "BF16", format: { type: "f32" } },
    { type: "F16", format: Q8 },
  ];
  const NEEDS: KernelNeeds = {
    layers: layerKinds(formatOf("f32")),
    head: [Q8],
    headShape: { heads: 2, kvHeads: 1, headDim: 8 },
    headNorm: "head",
    norms: "both",
    conversions: CONVERSIONS,
  };
  const choose = (device: Device) => chooseKernels(device, NEEDS, {}, async () => undefined);

  test.each([
    "f32 in the next column",
    "8-bit codes cut, not rounded",
    "the embedding of the next id",
    "a norm without epsilon",
    "the next norm's weight left out",
    "heads rotated by their slots",
    "a tie between threads that goes to the first",
    "the draft of the row after",
  ])("fails and names the kernel: %s", async (name) => {
    const { kernel, change } = FAULTS[name]!;
    const error: unknown = await choose(breaking(bench.device, kernel, change)).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(GpuError);
    expect(error).toMatchObject({ code: "gpu", kernel });
  });

  test("fails where one of them does not compile", async () => {
    const device = breaking(bench.device, "rms_norm", ["@compute", "@compute @nonsense"]);
    await expect(choose(device)).rejects.toThrow(/^rms_norm .*line \d+: /);
    bench.device.check();
  });

  /** Enlarges a kernel's uniform: the device refuses what is submitted with the buffer that is bound. */
  const refused = (device: Device, kernel: string, lastMember: string, use: string) =>
    miscompiling(device, ({ name }) =>
      name === kernel
        ? [
            [lastMember, `${lastMember} more: array<vec4u, 8>,`],
            [use, `(${use} + f32(shape.more[7].x))`],
          ]
        : [],
    );

  test("what the device refuses fails the kernel that asked for it, and no other", async () => {
    const device = refused(bench.device, "rms_norm", "outputStride: u32,", "shape.epsilon");
    const error: unknown = await choose(device).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(GpuError);
    expect(error).toMatchObject({ code: "gpu", kernel: "rms_norm" });
    bench.device.check(); // nobody else is told
  });

  test("nor is a kernel dropped for what is tried beside it", async () => {
    const software = altered(bench.device, { info: { ...bench.device.info, software: true } });
    const device = refused(software, "attention/prompt_threads", "attendedStride: u32,", "shape.scale");
    const { kernels, warnings } = await choose(device);
    expect(kernels).toEqual({ ...bestChoice(software), promptAttention: "tiles" });
    expect(warnings).toEqual([
      expect.stringMatching(
        /^the attention of prompts 'threads' is not used on this device: attention.prompt_threads: /,
      ),
    ]);
    bench.device.check();
  });

  test("compiles what a model needs anyway, and nothing else", async () => {
    for (const dtype of ["f32", "q4"] as const) {
      const checkpoint = await openCheckpoint(openFolder(STORIES));
      const { layers, head } = formatsOf(dtype);
      const plan = planWeights(checkpoint, { dtype, keepsBlocks: false }, bench.device.ledger.bindableBytes);
      const conversions = conversionsOf(plan, checkpoint);
      const needs = { layers: layerKinds(layers), head: [head], headShape: checkpoint.spec, conversions };
      await chooseKernels(bench.device, needs);
      const { count } = bench.device.pipelines;
      await uploadWeights(bench.device, checkpoint, plan);
      await checkpoint.close();
      bench.device.ledger.releaseOwner("weights");
      const others = [Embedding, RmsNorm, SelectTarget, SelectDraft].map((Kernel) => new Kernel(bench.device, head));
      await Promise.all(others.map((kernel) => kernel.prepare()));
      expect(bench.device.pipelines.count).toBe(count);
    }
  });

  test("tries the kernels of normed heads and of blocks' outputs where a model has them, and only there", async () => {
    const tried = async (needs: KernelNeeds) => {
      const names = new Set<string>();
      const device = miscompiling(bench.device, ({ name }) => {
        names.add(name);
        return [];
      });
      await chooseKernels(device, needs, { kv: "f16" }, async () => undefined);
      return ["attention/place_heads f16", "norm/add_normed"].map((name) => names.has(name));
    };
    const { headNorm: _, norms: __, ...llama } = NEEDS;
    expect(await tried(llama)).toEqual([false, false]);
    expect(await tried({ ...llama, norms: "before", headNorm: "head" })).toEqual([true, false]);
    expect(await tried({ ...llama, norms: "both" })).toEqual([false, true]);
    expect(await tried({ ...llama, norms: "after", headNorm: "row" })).toEqual([true, true]);
  });

  test("a many-row kernel that it found right is not tried again", async () => {
    await choose(bench.device);
    const { submits } = bench.device;
    const { manyRows } = bestChoice(bench.device);
    for (const form of ["qkv", "add", "gated"] as const) {
      await new ManyRowMatmul(bench.device, { form, format: formatOf("f32"), kv: "f32" }, manyRows).prepare();
    }
    expect(bench.device.submits).toBe(submits);
    await new ManyRowMatmul(bench.device, { form: "store", format: formatOf("f32") }, manyRows).prepare();
    expect(bench.device.submits).toBeGreaterThan(submits);
  });
});

/** An entry point whose devices take one text of a shader for another. */
function miscompilingGpu(gpu: GPU, [from, to]: Change): GPU {
  const requestAdapter: GPU["requestAdapter"] = async (options) => {
    const adapter = await gpu.requestAdapter(options);
    const requestDevice: GPUAdapter["requestDevice"] = async (descriptor) => {
      const device = await adapter!.requestDevice(descriptor);
      const createShaderModule = device.createShaderModule.bind(device);
      Object.defineProperty(device, "createShaderModule", {
        value: ({ label = "", code }: GPUShaderModuleDescriptor) =>
          createShaderModule({ label, code: code.replace(from, to) }),
      });
      return device;
    };
    return adapter && altered(adapter, { requestDevice });
  };
  return altered(gpu, { requestAdapter });
}

const GEMMA = new URL("../assets/families/gemma3", import.meta.url).pathname;

test.each([
  ["weights/repack f32", STORIES, "a matrix whose beginning is not where it should be"],
  ["embedding f32", STORIES, "the embedding of the next id"],
  ["attention/place_heads f32", GEMMA, "heads rotated by their slots"],
  ["norm/add_normed", GEMMA, "the next norm's weight left out"],
])("a load fails where a kernel is wrong, and names it: %s", async (kernel, source, fault) => {
  const { change } = FAULTS[fault]!;
  const gpu = miscompilingGpu(await defaultGpu(), change);
  const error: unknown = await load(source, { gpu }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(GpuError);
  expect(error).toMatchObject({ code: "gpu", kernel });
});

test("conversions: each type of a checkpoint into the format its tensors get, once", () => {
  const { tensors } = readModelSpec({ ...CONFIG, tie_word_embeddings: false }, undefined, "config.json");
  const types = (spec: TensorSpec) =>
    spec.shape.length === 1 ? "F32" : spec.name.startsWith("lm_head") ? "F16" : "BF16";
  const tensor = (spec: TensorSpec) => ({ ...spec, dtype: types(spec) }) as unknown as WeightTensor;
  const named = conversionsOf(planWeights({ tensors, tensor }, { dtype: "q4", keepsBlocks: false }, 2 ** 27), {
    tensor,
  }).map(({ type, format }) => `${type} to ${formatName(format)}`);
  expect(named.sort()).toEqual([
    "BF16 to q4/32 symmetric f16",
    "BF16 to q8/32 symmetric f16",
    "F16 to q8/32 symmetric f16",
  ]);
});
