/** Buffers that hold what rows are on their way through the layers. */

import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { chunkCount } from "../kernels/attention_shape.ts";
import { PROMPT_CAPACITY, ROW_CAPACITY } from "../kernels/constants.ts";
import { streamStride } from "../kernels/matmul_form.ts";
import { paddedSize } from "../kernels/weight_format.ts";
import type { ModelSpec } from "../model/spec.ts";

export interface Activations {
  /** `[rows][2][padded hiddenSize]`: the residual stream, and the same times the next norm's weight. */
  stream: GPUBuffer;
  /** `[ROW_CAPACITY][padded hiddenSize]`: what the head reads. */
  normed: GPUBuffer;
  /** `[rows][heads + 2 * kvHeads][headDim]` before they are normed, and `[rows][padded hiddenSize]` before it is normed and added. */
  projected: GPUBuffer;
  unadded: GPUBuffer;
  /** `[rows][heads][headDim]`, rotated. */
  queries: GPUBuffer;
  /** `[rows][padded heads * headDim]` */
  attended: GPUBuffer;
  /** `[rows][2][intermediateSize]`: gate and up that are products of their own. */
  ungated: GPUBuffer;
  /** `[rows][padded intermediateSize]` */
  gated: GPUBuffer;
  /** `[ROW_CAPACITY][heads][chunks][headDim]` and `[ROW_CAPACITY][heads][chunks]` pairs, of attention in two stages. */
  partialSums: GPUBuffer;
  partialSoftmax: GPUBuffer;
  /** `[ROW_CAPACITY][candidatesPerRow]` (logit, id) */
  candidates: GPUBuffer;
  /** One row of the stream on its way to the front. */
  lifted: GPUBuffer;
}

/**
 * Allocates them for `PROMPT_CAPACITY` rows. Rows are padded to whole steps of the weight formats; the padding is zero and
 * stays so, since no kernel writes it.
 */
export function createActivations(
  device: Device,
  spec: ModelSpec,
  contextLength: number,
  candidatesPerRow: number,
  storesGates = false,
): Activations {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, headNorm, norms } = spec;
  const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;
  const allocate = (name: string, rows: number, floats: number) =>
    device.ledger.allocate("activations", name, rows * floats * 4, usage);
  const perRow = (name: string, floats: number) => allocate(name, PROMPT_CAPACITY, floats);
  const chunks = heads * chunkCount(contextLength);
  return {
    stream: perRow("stream", streamStride(hiddenSize)),
    normed: allocate("normed", ROW_CAPACITY, paddedSize(hiddenSize)),
    // A word stands in for what a family has no use for.
    projected: perRow("projected", headNorm ? (heads + 2 * kvHeads) * headDim : 1),
    unadded: perRow("unadded", norms === "before" ? 1 : paddedSize(hiddenSize)),
    queries: perRow("queries", heads * headDim),
    attended: perRow("attended", paddedSize(heads * headDim)),
    ungated: perRow("ungated", storesGates ? 2 * intermediateSize : 1),
    gated: perRow("gated", paddedSize(intermediateSize)),
    partialSums: allocate("partial sums", ROW_CAPACITY, chunks * headDim),
    partialSoftmax: allocate("partial softmax", ROW_CAPACITY, chunks * 2),
    candidates: allocate("candidates", ROW_CAPACITY, candidatesPerRow * 2),
    lifted: allocate("lifted row", 1, streamStride(hiddenSize)),
  };
}
