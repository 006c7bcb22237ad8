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
import { checkGate } from "../../src/kernels/gate_check.ts";
import { SelectDraft, SelectTarget } from "../../src/kernels/layer_skip.ts";
import { ManyRowMatmul } from "../../src/kernels/many_row_matmul.ts";
import { checkAddNormed, checkRmsNorm } from "../../src/kernels/norm_check.ts";
import { checkPlaceHeads } from "../../src/kernels/place_heads_check.ts";
import { type Conversion, checkRepack } from "../../src/kernels/repack_check.ts";
import { RmsNorm } from "../../src/kernels/rms_norm.ts";
import { checkSelection } from "../../src/kernels/selection_check.ts";
import { GGUF_BLOCK_TYPES, SOURCE_LAYOUTS } from "../../src/kernels/source_type.ts";
import { formatName, isBlockFormat } from "../../src/kernels/weight_format.ts";
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
import { fullMatrix, SLOW } from "../slow.ts";
import { FAULTS } from "./faults.ts";
import { openBench } from "./harness.ts";
import { FORMATS, formatOf, HEADS, headShapeOf, layerKinds } from "./matmul_inputs.ts";
import { altered, type Change, miscompiling } from "./miscompile.ts";

const bench = openBench();

const CONFIG: object = JSON.parse(readFileSync(`${STORIES}config.json`, "utf8"));

afterEach(() => expect(bench.device.ledger.report().buffers, "buffers that a check left behind").toBe(0));

const TYPES = ["F32", "F16", "BF16"] as const;
const Q8 = formatOf("q8 symmetric");
const NAMED = FORMATS.map((format) => [formatName(format), format] as const);

describe("a right kernel passes", () => {
  test.each(NAMED)("repacking to %s, from every type", async (_, format) => {
    for (const type of TYPES) await checkRepack(bench.device, { type, format });
  });

  test.each(GGUF_BLOCK_TYPES.filter((_, i) => SLOW || i % 3 === 0))(
    "repacking %s: moved, rounded and quantised",
    async (type) => {
      const { exact } = SOURCE_LAYOUTS[type];
      const moved = isBlockFormat(exact) ? [exact, { ...exact, scale: "f32" as const }] : [];
      const formats = [
        ...moved,
        formatOf("f32"),
        formatOf("f16"),
        formatOf("q4 symmetric"),
        Q8,
        formatOf("q4 minimum"),
      ];
      for (const format of formats) await checkRepack(bench.device, { type, format });
    },
  );

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

  test.each(["silu", "gelu_tanh"] as const)("gates that were stored, %s", (activation) =>
    checkGate(bench.device, activation),
  );

  test("selection", () => checkSelection(bench.device));
});

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
      const { device } = bench;
      const others = [new Embedding(device, head), ...[RmsNorm, SelectTarget, SelectDraft].map((K) => new K(device))];
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
