/** A model of a given shape with made-up weights, on the device: for measuring, and for counting what a round records. */

import { Scheduler } from "../src/decode/scheduler.ts";
import { Forward } from "../src/forward/forward.ts";
import { KvCache } from "../src/forward/kv_cache.ts";
import { RowTable } from "../src/forward/row_table.ts";
import type { Device } from "../src/gpu/device.ts";
import { BufferUsage } from "../src/gpu/usage.ts";
import type { KernelChoice } from "../src/kernels/choice.ts";
import { scaleBytes, type WeightFormat, weightBytes } from "../src/kernels/weight_format.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import type { Dtype } from "../src/types.ts";
import { columnRuns } from "../src/weights/column_runs.ts";
import { formatsOf } from "../src/weights/dtype.ts";
import type { Matrix, MatrixPart, ModelWeights } from "../src/weights/held_weights.ts";
import { Filler } from "./kernels/filler.ts";

/** An engine that no checkpoint stands behind. */
export interface SyntheticModel {
  spec: ModelSpec;
  weights: ModelWeights;
  kv: KvCache;
  table: RowTable;
  forward: Forward;
  scheduler: Scheduler;
}

/** Makes the model and fills weights and KV cache with random numbers. Everything is booked in the device's ledger. */
export function syntheticModel(
  device: Device,
  spec: ModelSpec,
  { dtype, kernels, contextLength }: { dtype: Dtype; kernels: KernelChoice; contextLength: number },
): SyntheticModel {
  const filler = new Filler(device);
  const weights = syntheticWeights(device, spec, dtype, filler);
  const kv = new KvCache(device, spec, contextLength, kernels.kv);
  for (const buffer of [...kv.keys, ...kv.values]) {
    if (kernels.kv === "f32") filler.floats(buffer);
    else filler.words(buffer);
  }
  const table = new RowTable(device, contextLength);
  const forward = new Forward(device, spec, weights, kv, table, contextLength, kernels);
  return { spec, weights, kv, table, forward, scheduler: new Scheduler(device, forward, table) };
}

function syntheticWeights(device: Device, spec: ModelSpec, dtype: Dtype, filler: Filler): ModelWeights {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize, norms, headNorm } = spec;
  const formats = formatsOf(dtype);
  const usage = BufferUsage.STORAGE | BufferUsage.COPY_DST;
  const floats = (name: string, count: number) => {
    const buffer = device.ledger.allocate("weights", name, count * 4, usage);
    filler.floats(buffer);
    return buffer;
  };
  const norm = (has: boolean) => (has ? floats("norm", hiddenSize) : undefined);
  const normOfHeads = (count: number) => headNorm && floats("head norm", (headNorm === "row" ? count : 1) * headDim);
  const matrix = (name: string, format: WeightFormat, inputSize: number, columns: number): Matrix => {
    const weight = device.ledger.allocate("weights", name, weightBytes(format, inputSize, columns), usage);
    const scales = device.ledger.allocate("weights", name, scaleBytes(format, inputSize, columns), usage);
    if (format.type === "f32") filler.floats(weight);
    else filler.words(weight);
    filler.words(scales);
    return { format, weight, scales, inputSize, columns, bias: false };
  };
  /** `width` matrices side by side, cut where they must be. */
  const parts = (name: string, format: WeightFormat, inputSize: number, columns: number, width = 1): MatrixPart[] =>
    columnRuns(format, inputSize, columns, device.ledger.bindableBytes, width).map(({ first, count }) => ({
      ...matrix(name, format, inputSize, width * count),
      firstColumn: first,
    }));
  const head = parts("head", formats.head, hiddenSize, vocabSize);
  return {
    embedding: head,
    head,
    finalNorm: floats("norm", hiddenSize),
    layers: Array.from({ length: spec.layers }, () => ({
      inputNorm: norm(norms !== "after"),
      qkv: parts("qkv", formats.layers, hiddenSize, (heads + 2 * kvHeads) * headDim),
      queryNorm: normOfHeads(heads),
      keyNorm: normOfHeads(kvHeads),
      output: matrix("output", formats.layers, heads * headDim, hiddenSize),
      postAttentionNorm: norm(norms !== "before"),
      preFeedforwardNorm: norm(norms !== "after"),
      gateUp: parts("gate and up", formats.layers, hiddenSize, intermediateSize, 2),
      ungated: [],
      down: matrix("down", formats.layers, intermediateSize, hiddenSize),
      postFeedforwardNorm: norm(norms !== "before"),
    })),
  };
}
