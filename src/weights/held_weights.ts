/** Weights on the GPU: matrices in their formats, norms as vectors of f32. Their buffers are made here, empty; upload.ts fills them. */

import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { isBlockFormat, type WeightFormat, weightBytes } from "../kernels/weight_format.ts";
import type { TensorSpec } from "../model/spec.ts";
import { type LayerPlan, type MatrixPlan, matrixShape, scalesBytes, type WeightPlan } from "./plan.ts";

/** A weight matrix on the GPU (shaders/weights/formats/README.md). */
export interface Matrix {
  format: WeightFormat;
  weight: GPUBuffer;
  /** Scales, and the biases behind them. A word that stands in for them where there are none. */
  scales: GPUBuffer;
  inputSize: number;
  columns: number;
  /** Whether each column has a bias. */
  bias: boolean;
}

/** Neighbouring outputs of a matrix that is cut (column_runs.ts, plan.ts). */
export interface MatrixPart extends Matrix {
  /** The output that column 0 makes. */
  firstColumn: number;
}

/** Weights of one decoder layer. Norms that a family does not have are absent. */
export interface LayerWeights {
  inputNorm: GPUBuffer | undefined;
  /** Queries, keys and values side by side: (heads + 2 * kvHeads) * headDim columns. */
  qkv: MatrixPart[];
  queryNorm: GPUBuffer | undefined;
  keyNorm: GPUBuffer | undefined;
  output: Matrix;
  postAttentionNorm: GPUBuffer | undefined;
  preFeedforwardNorm: GPUBuffer | undefined;
  /** Gate and up side by side: 2 * intermediateSize columns. */
  gateUp: MatrixPart[];
  /** Gate, and up behind it, where their formats differ; `gateUp` is empty then. */
  ungated: MatrixPart[];
  down: Matrix;
  postFeedforwardNorm: GPUBuffer | undefined;
}

/** Bytes of a layer's matrices. */
export function matrixBytes({ qkv, output, gateUp, ungated, down }: LayerWeights): number {
  const matrices = [...qkv, output, ...gateUp, ...ungated, down];
  return matrices.reduce((sum, { weight, scales }) => sum + weight.size + scales.size, 0);
}

/** A model's weights: matrices in their formats, norms as vectors of f32. */
export interface ModelWeights {
  /** In runs of vocabulary ids, as the head is. */
  embedding: MatrixPart[];
  layers: LayerWeights[];
  finalNorm: GPUBuffer;
  /** The embedding's own array where the model ties them. */
  head: MatrixPart[];
}

/** Buffers of plans, empty, with what is to be put into them. */
export class HeldWeights {
  readonly matrices: [MatrixPlan, Matrix][] = [];
  readonly norms: [TensorSpec, GPUBuffer][] = [];
  readonly #device: Device;
  readonly #owner: string;
  #noScales: GPUBuffer | undefined;

  /** @param owner whom the buffers are booked under */
  constructor(device: Device, owner = "weights") {
    this.#device = device;
    this.#owner = owner;
  }

  /** Of a whole model. */
  model(plan: WeightPlan): ModelWeights {
    const embedding = plan.embedding.map((matrix) => this.matrix(matrix));
    return {
      embedding,
      layers: plan.layers.map((layer) => this.layer(layer)),
      finalNorm: this.#norm(plan.finalNorm),
      head: plan.head?.map((matrix) => this.matrix(matrix)) ?? embedding,
    };
  }

  layer(plan: LayerPlan): LayerWeights {
    const matrix = (each: MatrixPlan) => this.matrix(each);
    const norm = (tensor: TensorSpec | undefined) => tensor && this.#norm(tensor);
    return {
      inputNorm: norm(plan.inputNorm),
      qkv: plan.qkv.map(matrix),
      queryNorm: norm(plan.queryNorm),
      keyNorm: norm(plan.keyNorm),
      output: matrix(plan.output[0]),
      postAttentionNorm: norm(plan.postAttentionNorm),
      preFeedforwardNorm: norm(plan.preFeedforwardNorm),
      gateUp: plan.gateUp.map(matrix),
      ungated: plan.ungated.map(matrix),
      down: matrix(plan.down[0]),
      postFeedforwardNorm: norm(plan.postFeedforwardNorm),
    };
  }

  matrix(plan: MatrixPlan): MatrixPart {
    const { name, format, inputSize, columns, firstColumn, bias } = plan;
    const hasScales = isBlockFormat(format) || bias;
    const matrix = {
      format,
      weight: this.allocate(name, weightBytes(format, inputSize, columns)),
      scales: hasScales ? this.allocate(`${name} scales`, scalesBytes(plan)) : this.#withoutScales(),
      ...{ inputSize, columns, firstColumn, bias },
    };
    this.matrices.push([plan, matrix]);
    return matrix;
  }

  /** A word that stands in for the scales of matrices that have none. */
  #withoutScales(): GPUBuffer {
    this.#noScales ??= this.allocate("no scales", 4);
    return this.#noScales;
  }

  #norm(tensor: TensorSpec): GPUBuffer {
    const buffer = this.allocate(tensor.name, matrixShape(tensor).inputSize * 4);
    this.norms.push([tensor, buffer]);
    return buffer;
  }

  allocate(name: string, bytes: number): GPUBuffer {
    const { STORAGE, COPY_SRC, COPY_DST } = BufferUsage;
    return this.#device.ledger.allocate(this.#owner, name, bytes, STORAGE | COPY_SRC | COPY_DST);
  }
}
