/**
 * The forward pass: rows go through a run of layers.
 *
 * `forward(rows, fromLayer, toLayer)` is the only way through the layers. A plain step is one row through all of them, a
 * draft is one row through the first E, a verification several rows through the rest, a chunk of the prompt some rows
 * through all. The residual stream of row r stays in `hidden[r]` between calls: after the draft it is the exit hidden
 * state that the verification goes on from (the exit-query cache of LayerSkip), without a copy.
 */

import { GpuError } from "../errors.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import {
  AttentionChunks,
  AttentionMerge,
  attentionShape,
  chunkCount,
  RopeKv,
  ropeKvShape,
  ropeRotations,
} from "../kernels/attention.ts";
import { ROW_CAPACITY, WORKGROUP } from "../kernels/constants.ts";
import { Embedding, embeddingShape } from "../kernels/embedding.ts";
import { type BoundMatmul, FewRowMatmul } from "../kernels/few_row_matmul.ts";
import { groups, type RowSet } from "../kernels/kernel.ts";
import { type MatmulForm, matmulShape } from "../kernels/matmul_form.ts";
import { RmsNorm, rmsNormShape } from "../kernels/rms_norm.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { LayerWeights, ModelWeights } from "../weights/upload.ts";
import type { KvCache } from "./kv_cache.ts";
import type { RowTable } from "./row_table.ts";

/** One layer's bind groups, in the order they are dispatched. */
interface BoundLayer {
  inputNorm: GPUBindGroup;
  qkv: BoundMatmul;
  ropeKv: GPUBindGroup;
  chunks: GPUBindGroup;
  merge: GPUBindGroup;
  output: BoundMatmul;
  postAttentionNorm: GPUBindGroup;
  gated: BoundMatmul;
  down: BoundMatmul;
}

export class Forward {
  readonly spec: ModelSpec;
  /** `[ROW_CAPACITY][hiddenSize]`: the residual stream. */
  readonly hidden: GPUBuffer;
  /** `[ROW_CAPACITY][ceil(vocabSize / WORKGROUP)]` (logit, id): what `argmax` leaves. */
  readonly candidates: GPUBuffer;
  readonly #device: Device;
  readonly #weights: ModelWeights;
  readonly #shapes: ReturnType<typeof createShapes>;
  readonly #activations: ReturnType<typeof createActivations>;
  readonly #kernels: ReturnType<typeof createKernels>;
  readonly #embedding: GPUBindGroup;
  readonly #layers: BoundLayer[];
  readonly #finalNorm: GPUBindGroup;
  readonly #headArgmax: BoundMatmul;
  readonly #table: RowTable;
  #headLogits: { bound: BoundMatmul; logits: GPUBuffer } | undefined;

  constructor(
    device: Device,
    spec: ModelSpec,
    weights: ModelWeights,
    kv: KvCache,
    table: RowTable,
    contextLength: number,
  ) {
    this.spec = spec;
    this.#device = device;
    this.#weights = weights;
    this.#table = table;
    this.#shapes = createShapes(device, spec, contextLength);
    this.#activations = createActivations(device, spec, contextLength);
    this.#kernels = createKernels(device, spec);
    this.hidden = this.#activations.hidden;
    this.candidates = this.#activations.candidates;

    const { hidden, normed } = this.#activations;
    const range = table.ranges;
    this.#embedding = this.#kernels.embedding.bind({
      range,
      shape: this.#shapes.embedding,
      rows: table.rows,
      embedding: weights.embedding,
      hidden,
    });
    this.#layers = weights.layers.map((layer, i) => this.#bindLayer(layer, kv.keys[i]!, kv.values[i]!));
    this.#finalNorm = this.#bindNorm(weights.finalNorm);
    this.#headArgmax = this.#kernels.headArgmax.bind(
      { range, shape: this.#shapes.head, weight: weights.head, input: normed, output: this.candidates },
      spec.vocabSize,
    );
  }

  /** Compiles what passes of these numbers of rows need, and allocates the logits where they are wanted. */
  async prepare(rowCounts: readonly number[], withLogits = false): Promise<void> {
    const { embedding, norm, ropeKv, chunks, merge, store, add, gated, headArgmax } = this.#kernels;
    const matmuls = withLogits ? [store, add, gated] : [store, add, gated, headArgmax];
    if (withLogits && !this.#headLogits) {
      const bytes = ROW_CAPACITY * this.spec.vocabSize * 4;
      this.#headLogits = await this.#device.allocating("logits", bytes, () => this.#bindLogits());
    }
    await Promise.all([
      ...[embedding, norm, ropeKv, chunks, merge].map((kernel) => kernel.prepare()),
      ...matmuls.flatMap((matmul) => rowCounts.map((count) => matmul.prepare(count))),
    ]);
  }

  /** Records `rows` through layers [fromLayer, toLayer), from their tokens where fromLayer is 0. */
  forward(recorder: Recorder, rows: RowSet, fromLayer: number, toLayer: number): void {
    const k = this.#kernels;
    if (fromLayer === 0) k.embedding.dispatch(recorder, this.#embedding, rows, this.spec.hiddenSize);
    for (const layer of this.#layers.slice(fromLayer, toLayer)) {
      k.norm.dispatch(recorder, layer.inputNorm, rows);
      k.store.record(recorder, layer.qkv, rows);
      k.ropeKv.dispatch(recorder, layer.ropeKv, rows, this.spec);
      k.chunks.dispatch(recorder, layer.chunks, rows, this.spec);
      k.merge.dispatch(recorder, layer.merge, rows, this.spec);
      k.add.record(recorder, layer.output, rows);
      k.norm.dispatch(recorder, layer.postAttentionNorm, rows);
      k.gated.record(recorder, layer.gated, rows);
      k.add.record(recorder, layer.down, rows);
    }
  }

  /** Records final norm, head and first stage of the argmax of `rows`, wherever in the layers they are. */
  argmax(recorder: Recorder, rows: RowSet): void {
    this.#kernels.norm.dispatch(recorder, this.#finalNorm, rows);
    this.#kernels.headArgmax.record(recorder, this.#headArgmax, rows);
  }

  /**
   * Records final norm and head of `rows`, wherever in the layers they are.
   * @returns the buffer of logits, `[ROW_CAPACITY][vocabSize]` f32, which `prepare` has allocated
   */
  logits(recorder: Recorder, rows: RowSet): GPUBuffer {
    if (!this.#headLogits) throw new GpuError("head", "logits were recorded before they were prepared");
    this.#kernels.norm.dispatch(recorder, this.#finalNorm, rows);
    this.#kernels.store.record(recorder, this.#headLogits.bound, rows);
    return this.#headLogits.logits;
  }

  #bindLogits(): { bound: BoundMatmul; logits: GPUBuffer } {
    const { vocabSize } = this.spec;
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC;
    const logits = this.#device.ledger.allocate("activations", "logits", ROW_CAPACITY * vocabSize * 4, usage);
    return { logits, bound: this.#bindMatmul("store", "head", this.#weights.head, this.#activations.normed, logits) };
  }

  #bindLayer(weights: LayerWeights, keys: GPUBuffer, values: GPUBuffer): BoundLayer {
    const { hidden, normed, qkv, partialSums, partialSoftmax, attended, gated } = this.#activations;
    const { ropeKv, chunks, merge } = this.#kernels;
    const shapes = this.#shapes;
    const onRows = { range: this.#table.ranges, rows: this.#table.rows };
    const partial = { partialSums, partialSoftmax };
    return {
      inputNorm: this.#bindNorm(weights.inputNorm),
      qkv: this.#bindMatmul("store", "qkv", weights.qkv, normed, qkv),
      ropeKv: ropeKv.bind({ ...onRows, shape: shapes.ropeKv, rotations: shapes.rotations, qkv, keys, values }),
      chunks: chunks.bind({ ...onRows, shape: shapes.attention, qkv, keys, values, ...partial }),
      merge: merge.bind({ ...onRows, shape: shapes.attention, ...partial, attended }),
      output: this.#bindMatmul("add", "output", weights.output, attended, hidden),
      postAttentionNorm: this.#bindNorm(weights.postAttentionNorm),
      gated: this.#bindMatmul("gated", "gated", weights.gateUp, normed, gated),
      down: this.#bindMatmul("add", "down", weights.down, gated, hidden),
    };
  }

  #bindNorm(weight: GPUBuffer): GPUBindGroup {
    const { hidden, normed } = this.#activations;
    const buffers = { range: this.#table.ranges, shape: this.#shapes.norm, hidden, weight, normed };
    return this.#kernels.norm.bind(buffers);
  }

  #bindMatmul(
    form: "store" | "add" | "gated",
    shape: keyof ReturnType<typeof matmulSizes>,
    weight: GPUBuffer,
    input: GPUBuffer,
    output: GPUBuffer,
  ): BoundMatmul {
    const buffers = { range: this.#table.ranges, shape: this.#shapes[shape], weight, input, output };
    return this.#kernels[form].bind(buffers, matmulSizes(this.spec)[shape].outputSize);
  }
}

function createKernels(device: Device, spec: ModelSpec) {
  return {
    embedding: new Embedding(device),
    norm: new RmsNorm(device),
    ropeKv: new RopeKv(device),
    chunks: new AttentionChunks(device, spec.headDim),
    merge: new AttentionMerge(device, spec.headDim),
    store: new FewRowMatmul(device, "store"),
    add: new FewRowMatmul(device, "add"),
    gated: new FewRowMatmul(device, "gated"),
    headArgmax: new FewRowMatmul(device, "headArgmax"),
  };
}

/** Form, K and N of each weight matrix. */
function matmulSizes(spec: ModelSpec) {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = spec;
  const size = (form: MatmulForm, inputSize: number, outputSize: number) => ({ form, inputSize, outputSize });
  return {
    qkv: size("store", hiddenSize, (heads + 2 * kvHeads) * headDim),
    output: size("add", heads * headDim, hiddenSize),
    gated: size("gated", hiddenSize, intermediateSize),
    down: size("add", intermediateSize, hiddenSize),
    head: size("store", hiddenSize, vocabSize),
  };
}

/** Small constant buffers: the kernels' shapes and the rotations of RoPE. */
function createShapes(device: Device, spec: ModelSpec, contextLength: number) {
  const constant = (name: string, data: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>, usage: number) => {
    const buffer = device.ledger.allocate("shapes", name, data.byteLength, usage | BufferUsage.COPY_DST);
    device.handle.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  const { UNIFORM, STORAGE } = BufferUsage;
  const sizes = matmulSizes(spec);
  const matmul = (name: keyof typeof sizes) => {
    const { form, inputSize, outputSize } = sizes[name];
    return constant(name, matmulShape(form, inputSize, outputSize), UNIFORM);
  };
  return {
    embedding: constant("embedding", embeddingShape(spec.hiddenSize, spec.vocabSize), UNIFORM),
    norm: constant("norm", rmsNormShape(spec.hiddenSize, spec.rmsNormEps), UNIFORM),
    ropeKv: constant("rope_kv", ropeKvShape(spec), UNIFORM),
    attention: constant("attention", attentionShape(spec, contextLength), UNIFORM),
    rotations: constant("rotations", ropeRotations(contextLength, spec.headDim, spec.ropeTheta), STORAGE),
    qkv: matmul("qkv"),
    output: matmul("output"),
    gated: matmul("gated"),
    down: matmul("down"),
    head: matmul("head"),
  };
}

/** Buffers that hold what rows are on their way through the layers. All are `[ROW_CAPACITY][...]` f32. */
function createActivations(device: Device, spec: ModelSpec, contextLength: number) {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = spec;
  const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;
  const perRow = (name: string, floats: number) =>
    device.ledger.allocate("activations", name, ROW_CAPACITY * floats * 4, usage);
  const chunks = heads * chunkCount(contextLength);
  return {
    hidden: perRow("hidden", hiddenSize),
    normed: perRow("normed", hiddenSize),
    qkv: perRow("qkv", (heads + 2 * kvHeads) * headDim),
    partialSums: perRow("partial sums", chunks * headDim),
    partialSoftmax: perRow("partial softmax", chunks * 2),
    attended: perRow("attended", heads * headDim),
    gated: perRow("gated", intermediateSize),
    candidates: perRow("candidates", groups(vocabSize, WORKGROUP) * 2),
  };
}
