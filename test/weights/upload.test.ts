/** Weights land on the GPU in the format of each dtype, in chunks that neither host nor GPU is pressed by. */

import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { GpuMemoryError } from "../../src/errors.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { Device } from "../../src/gpu/device.ts";
import { decodeMatrix, half, halfBits } from "../../src/kernels/weight_codec.ts";
import { formatName, type WeightFormat, weightBytes } from "../../src/kernels/weight_format.ts";
import { defaultGpu, openFolder } from "../../src/platform/node.ts";
import type { Dtype } from "../../src/types.ts";
import { type Checkpoint, openCheckpoint } from "../../src/weights/checkpoint.ts";
import { columnRuns } from "../../src/weights/column_runs.ts";
import { DTYPES } from "../../src/weights/dtype.ts";
import type { Matrix, MatrixPart, ModelWeights } from "../../src/weights/held_weights.ts";
import { planWeights } from "../../src/weights/plan.ts";
import type { Folder } from "../../src/weights/source.ts";
import { type UploadOptions, uploadWeights } from "../../src/weights/upload.ts";
import { firstDifference } from "../kernels/harness.ts";
import { randomModelFolder } from "../memory_folder.ts";
import { type Random, seeded } from "../reference/random.ts";
import { readTensors, type Tensor } from "../reference/safetensors.ts";
import { SHARDED } from "./model_folder.ts";

let device: Device;
beforeAll(async () => {
  device = await Device.open(await defaultGpu());
});
afterEach(() => device.ledger.releaseAll());
afterAll(() => device.dispose());

/** Loads a checkpoint's weights as `load` does. */
async function upload(checkpoint: Checkpoint, { dtype, ...options }: UploadOptions & { dtype: Dtype }) {
  return uploadWeights(
    device,
    checkpoint,
    planWeights(checkpoint, { dtype, keepsBlocks: false }, device.ledger.bindableBytes),
    { dtype, ...options },
  );
}

/** The bits of a buffer. */
async function words(buffer: GPUBuffer): Promise<Uint32Array<ArrayBuffer>> {
  const { MAP_READ, COPY_DST } = GPUBufferUsage;
  const read = device.ledger.allocate("test", "read", buffer.size, MAP_READ | COPY_DST);
  const recorder = new Recorder(device.handle, "read");
  recorder.copy(buffer, 0, read, 0, buffer.size);
  device.submit(recorder);
  const bytes = await device.read(read, read.size);
  device.ledger.release(read);
  return new Uint32Array(bytes);
}

async function floats(buffer: GPUBuffer): Promise<Float32Array> {
  return new Float32Array((await words(buffer)).buffer);
}

/** `[columns][inputSize]`. */
async function values({ format, weight, scales, inputSize, columns }: Matrix): Promise<Float64Array> {
  return decodeMatrix(format, await words(weight), await words(scales), inputSize, columns);
}

/** Parts side by side; of `width` matrices that were cut alike, one after the other. */
async function allValues(parts: readonly MatrixPart[], width = 1): Promise<number[]> {
  const wholes = Array.from({ length: width }, (): number[] => []);
  for (const part of parts) {
    expect(part.firstColumn).toBe(wholes[0]!.length / part.inputSize);
    const all = await values(part);
    for (const [i, value] of all.entries()) wholes[Math.floor((i * width) / all.length)]!.push(value);
  }
  return wholes.flat();
}

/** The names of a layer's tensors that a matrix holds side by side. */
const LAYER = {
  qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  output: ["self_attn.o_proj"],
  down: ["mlp.down_proj"],
} as const;

/** Fails unless every weight is the tensor's, as near as its format holds it: numbers in blocks within a step. */
async function expectWeights(
  weights: ModelWeights,
  tensors: ReadonlyMap<string, Tensor>,
  formats: { layers: string; head: string },
): Promise<void> {
  const tensor = (name: string) => tensors.get(`${name}.weight`)!;
  const compare = async (
    matrix: { format: WeightFormat; inputSize: number },
    actual: ArrayLike<number>,
    ...names: string[]
  ) => {
    const expected = names.flatMap((name) => [...tensor(name).values]);
    expect(actual.length).toBe(expected.length);
    for (let row = 0; row < expected.length; row += matrix.inputSize) {
      for (let k = 0; k < matrix.inputSize; k += 32) {
        const block = expected.slice(row + k, row + Math.min(k + 32, matrix.inputSize));
        const largest = Math.max(...block.map(Math.abs));
        const steps = { f32: 0, f16: 0, q8: largest / 127 / 1.99, q4: largest / 8 / 0.99 };
        for (const [i, x] of block.entries()) {
          const wanted = matrix.format.type === "f16" ? half(halfBits(x)) : x;
          const error = Math.abs(actual[row + k + i]! - wanted);
          if (!(error <= steps[matrix.format.type]))
            expect.fail(`${names}: ${actual[row + k + i]}, expected ${wanted}`);
        }
      }
    }
  };
  for (const [name, parts] of [
    ["model.embed_tokens", weights.embedding],
    ["lm_head", weights.head],
  ] as const) {
    if (!tensors.has(`${name}.weight`)) continue;
    for (const part of parts) expect(formatName(part.format)).toBe(formats.head);
    await compare(parts[0]!, await allValues(parts), name);
  }
  for (const [i, layer] of weights.layers.entries()) {
    for (const [name, parts] of Object.entries(LAYER)) {
      const matrix = [layer[name as keyof typeof LAYER]].flat()[0]!;
      expect(formatName(matrix.format)).toBe(formats.layers);
      await compare(matrix, await values(matrix), ...parts.map((part) => `model.layers.${i}.${part}`));
    }
    const mlp = `model.layers.${i}.mlp`;
    for (const part of layer.gateUp) expect(formatName(part.format)).toBe(formats.layers);
    await compare(layer.gateUp[0]!, await allValues(layer.gateUp, 2), `${mlp}.gate_proj`, `${mlp}.up_proj`);
    const norms = [layer.inputNorm, layer.preFeedforwardNorm];
    for (const [n, name] of ["input_layernorm", "post_attention_layernorm"].entries()) {
      expect([...(await floats(norms[n]!))]).toEqual([...tensor(`model.layers.${i}.${name}`).values]);
    }
  }
  expect([...(await floats(weights.finalNorm))]).toEqual([...tensor("model.norm").values]);
}

const FORMATS: Record<Dtype, { layers: string; head: string }> = {
  f32: { layers: "f32", head: "f32" },
  f16: { layers: "f16", head: "f16" },
  q8: { layers: "q8/32 symmetric f16", head: "q8/32 symmetric f16" },
  q4: { layers: "q4/32 symmetric f16", head: "q8/32 symmetric f16" },
};

describe.each(DTYPES)("%s", (dtype) => {
  test(
    "every tensor of a model of random shape is where it belongs",
    seeded(async (random) => {
      for (const tieWordEmbeddings of [true, false]) {
        const { folder, tensors } = randomModelFolder(random, {
          tieWordEmbeddings,
          headDim: 8 * random.int(1, 3),
          hiddenSize: 4 * random.int(2, 20),
        });
        const weights = await upload(await openCheckpoint(folder), { dtype });
        expect(weights.head === weights.embedding).toBe(tieWordEmbeddings);
        await expectWeights(weights, tensors, FORMATS[dtype]);
        expect(Object.keys(device.ledger.report().byOwner)).toEqual(["weights"]);
        device.ledger.releaseAll();
      }
    }),
  );

  test("a sharded checkpoint in bf16", async () => {
    const checkpoint = await openCheckpoint(openFolder(SHARDED));
    onTestFinished(() => checkpoint.close());
    const weights = await upload(checkpoint, { dtype });
    await expectWeights(weights, readTensors(SHARDED), FORMATS[dtype]);
  });
});

/** A model whose embedding, the head too, is a wide matrix and whose one layer is small. */
function wideModel(random: Random, vocabSize: number, hiddenSize: number) {
  const shape = { layers: 1, heads: 1, kvHeads: 1, headDim: 8, intermediateSize: 8, tieWordEmbeddings: true };
  return randomModelFolder(random, { vocabSize, hiddenSize, ...shape });
}

/** The same folder, and the bytes of each read of its weights. */
function recording(folder: Folder): { folder: Folder; reads: number[] } {
  const reads: number[] = [];
  const open: Folder["open"] = async (path, signal) => {
    const source = await folder.open(path, signal);
    if (!source || path !== "model.safetensors") return source;
    return {
      ...source,
      read: (offset, length, signal) => {
        reads.push(length);
        return source.read(offset, length, signal);
      },
    };
  };
  return { folder: { name: folder.name, open }, reads };
}

/** Opens a folder; only reads of weights count. */
async function openRecorded(folder: Folder): Promise<{ checkpoint: Checkpoint; reads: number[] }> {
  const recorded = recording(folder);
  const checkpoint = await openCheckpoint(recorded.folder);
  recorded.reads.length = 0;
  return { checkpoint, reads: recorded.reads };
}

/** Replaces a property of a WebGPU object until the test ends. */
function override(target: object, name: string, value: unknown): void {
  const original = Object.getOwnPropertyDescriptor(target, name);
  Object.defineProperty(target, name, { value, configurable: true, writable: true });
  onTestFinished(() => {
    if (original) Object.defineProperty(target, name, original);
    else Reflect.deleteProperty(target, name);
  });
}

/**
 * Opens a folder and notes the bytes of each read of its weights. By the clock, which stands still otherwise, the device
 * then takes `msPerMiB` for each MiB read, one chunk after the other, until the test ends. `ahead`: chunks handed over and
 * not done, at most so far.
 */
async function openPaced(
  folder: Folder,
  msPerMiB: number,
): Promise<{ checkpoint: Checkpoint; reads: number[]; ahead: () => number }> {
  const { checkpoint, reads } = await openRecorded(folder);
  let clock = 0;
  let last = Promise.resolve();
  let [pending, most] = [0, 0];
  override(performance, "now", () => clock);
  override(device.handle.queue, "onSubmittedWorkDone", () => {
    const ms = (msPerMiB * reads.at(-1)!) / 2 ** 20;
    most = Math.max(most, ++pending);
    // Time for the host to get ahead.
    const done = last.then(() => (ms ? new Promise<void>((resolve) => setTimeout(resolve, 20)) : undefined));
    last = done.then(() => {
      clock += ms;
      pending--;
    });
    return last;
  });
  return { checkpoint, reads, ahead: () => most };
}

describe("chunks", () => {
  const MIB = 2 ** 20;

  test.each(DTYPES)("%s: the weights do not depend on how they were cut", (dtype) =>
    seeded(async (random) => {
      const { folder } = wideModel(random, 6001, 172);
      const load = async (msPerMiB: number) => {
        const { checkpoint, reads } = await openPaced(folder, msPerMiB);
        const [part] = (await upload(checkpoint, { dtype })).embedding;
        const laid = [await words(part!.weight), await words(part!.scales)];
        device.ledger.releaseAll();
        return { reads, laid };
      };
      const [fast, slow] = [await load(0), await load(400)];
      expect(slow.reads.length).toBeGreaterThan(fast.reads.length + 5);
      for (const [i, whole] of fast.laid.entries()) expect(firstDifference(slow.laid[i]!, whole)).toBe(-1);
    })(),
  );

  test(
    "grow to 8 MiB on a fast device, and neither reads nor staging ever exceed that",
    seeded(async (random) => {
      const { checkpoint, reads } = await openPaced(wideModel(random, 32768, 256).folder, 0);
      let staging = 0;
      const loaded: number[] = [];
      const onProgress = (loadedBytes: number) => {
        loaded.push(loadedBytes);
        staging = Math.max(staging, device.ledger.report().byOwner.staging ?? 0);
      };
      await upload(checkpoint, { dtype: "q8", onProgress });
      expect(reads[0]).toBe(MIB / 4);
      expect(reads.indexOf(8 * MIB)).toBeGreaterThan(0);
      expect(Math.max(...reads)).toBe(8 * MIB);
      expect(staging).toBe(8 * MIB + 32);
      expect(loaded).toEqual(reads.map((_, i) => reads.slice(0, i + 1).reduce((a, b) => a + b)));
      expect(loaded.at(-1)).toBe(checkpoint.weightBytes);
    }),
  );

  test(
    "take about 100 ms on a device that is slow, no more than four ahead of it",
    seeded(async (random) => {
      const { checkpoint, reads, ahead } = await openPaced(wideModel(random, 6000, 256).folder, 500);
      await upload(checkpoint, { dtype: "f16" });
      expect(reads.slice(0, 4)).toEqual(Array(4).fill(MIB / 4)); // nothing is known yet
      expect(ahead()).toBeLessThanOrEqual(4);
      for (const bytes of reads.slice(4)) expect((500 * bytes) / MIB).toBeLessThanOrEqual(100);
      for (const bytes of reads.slice(4, 20)) expect((500 * bytes) / MIB).toBeGreaterThan(99); // whole rows
    }),
  );

  test(
    "an abort between two of them rejects with its reason and leaves no staging",
    seeded(async (random) => {
      const { checkpoint, reads } = await openRecorded(wideModel(random, 8192, 256).folder);
      const controller = new AbortController();
      const reason = new Error("enough");
      const onProgress = () => controller.abort(reason);
      const loading = upload(checkpoint, { dtype: "q4", onProgress, signal: controller.signal });
      await expect(loading).rejects.toBe(reason);
      expect(reads).toHaveLength(1);
      expect(Object.keys(device.ledger.report().byOwner)).toEqual(["weights"]);
    }),
  );
});

describe("parts", () => {
  const LIMIT = 128 * 2 ** 20; // WebGPU's default
  const q8: WeightFormat = { type: "q8", codes: "symmetric", block: 32, scale: "f16" };

  test.each<WeightFormat>([{ type: "f32" }, { type: "f16" }, q8])(
    "$type: 262,144 ids in 128 MiB a binding",
    (format) => {
      for (const hiddenSize of [64, 576, 640, 1152, 2304, 4096]) {
        const parts = columnRuns(format, hiddenSize, 262_144, LIMIT);
        let next = 0;
        for (const { first, count } of parts) {
          expect([first, first % 1024]).toEqual([next, 0]);
          expect(weightBytes(format, hiddenSize, count)).toBeLessThanOrEqual(LIMIT);
          next += count;
        }
        expect(next).toBe(262_144);
        // No more parts than it takes, but for what cutting at 1,024 costs.
        expect((parts.length - 1) * (LIMIT - weightBytes(format, hiddenSize, 2048))).toBeLessThan(
          weightBytes(format, hiddenSize, 262_144),
        );
      }
    },
  );

  test("one part where it fits, of any size", () => {
    expect(columnRuns(q8, 64, 512, LIMIT)).toEqual([{ first: 0, count: 512 }]);
    expect(columnRuns({ type: "f32" }, 128, 2 ** 18, LIMIT)).toEqual([{ first: 0, count: 2 ** 18 }]);
    expect(columnRuns({ type: "f32" }, 128, 2 ** 18 + 1, LIMIT)).toHaveLength(2);
  });

  test.each([
    ["f32", 8192],
    ["f16", 16384],
  ] as const)("%s: a head beyond the device's binding lies in several parts", (dtype, idsPerBinding) =>
    seeded(async (random) => {
      const hiddenSize = 256;
      const vocabSize = idsPerBinding + random.int(1, 500);
      const { folder, tensors } = wideModel(random, vocabSize, hiddenSize);
      const { maxBufferSize } = device.handle.limits;
      override(device.handle, "limits", { maxBufferSize, maxStorageBufferBindingSize: 8 * 2 ** 20 });
      const weights = await upload(await openCheckpoint(folder), { dtype });
      expect(weights.embedding.map((part) => part.firstColumn)).toEqual([0, idsPerBinding / 2 + 1024]);
      expect(weights.embedding.map((part) => part.columns)).toEqual([
        idsPerBinding / 2 + 1024,
        vocabSize - idsPerBinding / 2 - 1024,
      ]);
      await expectWeights(weights, tensors, FORMATS[dtype]);
    })(),
  );

  test(
    "gate and up beyond the device's binding lie in several parts, each a run of both",
    seeded(async (random) => {
      const intermediateSize = 4096 + 4 * random.int(1, 100);
      const shape = { layers: 1, heads: 1, kvHeads: 1, headDim: 8, hiddenSize: 256, intermediateSize };
      const { folder, tensors } = randomModelFolder(random, shape);
      const { maxBufferSize } = device.handle.limits;
      override(device.handle, "limits", { maxBufferSize, maxStorageBufferBindingSize: 8 * 2 ** 20 });
      const weights = await upload(await openCheckpoint(folder), { dtype: "f32" });
      const places = weights.layers[0]!.gateUp.map((part) => [part.firstColumn, part.columns]);
      expect(places).toEqual([
        [0, 2 * 3072],
        [3072, 2 * (intermediateSize - 3072)],
      ]);
      await expectWeights(weights, tensors, FORMATS.f32);
    }),
  );

  test("the parts of two matrices that are cut alike hold both runs", () => {
    // Gate and up of Qwen3-4B in f32, of Llama-3-8B in f16.
    expect(columnRuns({ type: "f32" }, 2560, 9728, LIMIT, 2)).toEqual([
      { first: 0, count: 5120 },
      { first: 5120, count: 4608 },
    ]);
    expect(columnRuns({ type: "f16" }, 4096, 14_336, LIMIT, 2)).toEqual([
      { first: 0, count: 7168 },
      { first: 7168, count: 7168 },
    ]);
    expect(columnRuns({ type: "f16" }, 4096, 8192, LIMIT, 2)).toEqual([{ first: 0, count: 8192 }]);
    expect(columnRuns({ type: "f16" }, 4096, 8193, LIMIT, 2)).toHaveLength(2);
  });
});

test.each(["f32", "q4"] as const)("%s: a device without the memory is told of by dtype and bytes", (dtype) =>
  seeded(async (random) => {
    const { folder } = randomModelFolder(random, { headDim: 8 });
    const expected = await heldBytes(folder, dtype);
    const popErrorScope = device.handle.popErrorScope.bind(device.handle);
    let popped = 0;
    override(device.handle, "popErrorScope", async () => {
      const error = await popErrorScope();
      return popped++ === 0 ? { message: "full" } : error; // the innermost scope is that of memory
    });
    const failure = await upload(await openCheckpoint(folder), { dtype }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(GpuMemoryError);
    expect((failure as GpuMemoryError).message).toContain(`random-model (weights in ${dtype}) needs ${expected} bytes`);
  })(),
);

/** Bytes of weights that a load books, less the word that stands in for scales where matrices have none. */
async function heldBytes(folder: Folder, dtype: Dtype): Promise<number> {
  await upload(await openCheckpoint(folder), { dtype });
  const bytes = device.ledger.report().byOwner.weights! - (dtype === "f32" ? 4 : 0);
  device.ledger.releaseAll();
  return bytes;
}
