/**
 * What a checkpoint becomes on the GPU: which tensors lie in which matrix, in which format. Nothing is allocated or read
 * here, so it also tells what a model would take.
 *
 * Matrices that are multiplied by the same input are one matrix, where their formats agree and the device binds it whole.
 */

import { GpuError } from "../errors.ts";
import { formatName, isBlockFormat, scaleBytes, type WeightFormat, weightBytes } from "../kernels/weight_format.ts";
import type { LayerTensors, TensorSpec } from "../model/spec.ts";
import type { Dtype } from "../types.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { columnRuns } from "./column_runs.ts";
import { DTYPES, formatOf, formatsOf, type Holding, type MatrixRole } from "./dtype.ts";

/** A run of a tensor's rows (counted within its slice) and the columns they become. */
export interface Landing {
  tensor: TensorSpec;
  firstRow: number;
  rows: number;
  firstColumn: number;
}

export interface MatrixPlan {
  name: string;
  format: WeightFormat;
  inputSize: number;
  columns: number;
  /** Of one part of several that make the outputs: the first output. */
  firstColumn: number;
  landings: Landing[];
  /** Biases of runs of columns. */
  biases: Landing[];
  /** Whether there are any. */
  bias: boolean;
}

export interface LayerPlan {
  inputNorm: TensorSpec | undefined;
  /** Queries, keys and values side by side: (heads + 2 * kvHeads) * headDim columns. */
  qkv: MatrixPlan[];
  queryNorm: TensorSpec | undefined;
  keyNorm: TensorSpec | undefined;
  output: [MatrixPlan];
  postAttentionNorm: TensorSpec | undefined;
  preFeedforwardNorm: TensorSpec | undefined;
  /** Gate and up side by side, in as many parts as bindings need; none where their formats differ. */
  gateUp: MatrixPlan[];
  /** Gate, and up behind it, as matrices of their own where their formats differ; none else. */
  ungated: MatrixPlan[];
  down: [MatrixPlan];
  postFeedforwardNorm: TensorSpec | undefined;
}

export interface WeightPlan {
  embedding: MatrixPlan[];
  layers: LayerPlan[];
  finalNorm: TensorSpec;
  /** Absent where the embedding serves as head. */
  head: MatrixPlan[] | undefined;
}

/** Rows and row length of the part of a tensor that is meant; a vector is one row. */
export function matrixShape({ shape, slice }: TensorSpec): { rows: number; inputSize: number } {
  if (shape.length === 1) return { rows: 1, inputSize: shape[0]! };
  return { rows: slice?.rows ?? shape[0]!, inputSize: shape[1]! };
}

/**
 * @param holding what the matrices are held in
 * @param bindableBytes what the device binds as one buffer
 * @throws GpuError for a layer's matrix that is never cut and that the device does not bind whole
 */
export function planWeights(
  { tensors, tensor: find }: Pick<Checkpoint, "tensors" | "tensor">,
  holding: Holding,
  bindableBytes: number,
): WeightPlan {
  const ofVocabulary = (tensor: TensorSpec) =>
    cutAlike([{ tensor }], formatOf(holding, "head", find(tensor).dtype), bindableBytes);
  return {
    embedding: ofVocabulary(tensors.embedding),
    layers: tensors.layers.map((layer) => planLayer(find, layer, "layers", holding, bindableBytes)),
    finalNorm: tensors.finalNorm,
    head: tensors.head && ofVocabulary(tensors.head),
  };
}

/**
 * @param role whose formats its matrices get
 * @throws GpuError for a matrix that is never cut and that the device does not bind whole
 */
export function planLayer(
  find: Checkpoint["tensor"],
  tensors: LayerTensors,
  role: MatrixRole,
  holding: Holding,
  bindableBytes: number,
): LayerPlan {
  const format = (tensor: TensorSpec) => formatOf(holding, role, find(tensor).dtype);
  const inLayer = (...members: Member[]) => {
    const matrices = byFormat(members, format);
    for (const matrix of matrices) requireBindable(matrix, holding.dtype, bindableBytes);
    return matrices;
  };
  const whole = (tensor: TensorSpec, bias?: TensorSpec): [MatrixPlan] => [inLayer({ tensor, bias })[0]!];
  return {
    inputNorm: tensors.inputNorm,
    qkv: inLayer(
      { tensor: tensors.query, bias: tensors.queryBias },
      { tensor: tensors.key, bias: tensors.keyBias },
      { tensor: tensors.value, bias: tensors.valueBias },
    ),
    queryNorm: tensors.queryNorm,
    keyNorm: tensors.keyNorm,
    output: whole(tensors.output, tensors.outputBias),
    postAttentionNorm: tensors.postAttentionNorm,
    preFeedforwardNorm: tensors.preFeedforwardNorm,
    ...gateAndUp(
      { tensor: tensors.gate, bias: tensors.gateBias },
      { tensor: tensors.up, bias: tensors.upBias },
      format,
      bindableBytes,
    ),
    down: whole(tensors.down, tensors.downBias),
    postFeedforwardNorm: tensors.postFeedforwardNorm,
  };
}

/** A matrix that is a tensor and the biases of its products. */
export function planMatrix(
  find: Checkpoint["tensor"],
  { tensor, bias }: Member,
  role: MatrixRole,
  holding: Holding,
  bindableBytes: number,
): MatrixPlan {
  const [matrix] = byFormat([{ tensor, bias }], (each) => formatOf(holding, role, find(each).dtype));
  requireBindable(matrix!, holding.dtype, bindableBytes);
  return matrix!;
}

/** Gate and up: one product of pairs where they are of one format, and two products else. */
function gateAndUp(
  gate: Member,
  up: Member,
  formatOf: (tensor: TensorSpec) => WeightFormat,
  bindableBytes: number,
): Pick<LayerPlan, "gateUp" | "ungated"> {
  const [gateFormat, upFormat] = [formatOf(gate.tensor), formatOf(up.tensor)];
  if (formatName(gateFormat) === formatName(upFormat)) {
    return { gateUp: cutAlike([gate, up], gateFormat, bindableBytes), ungated: [] };
  }
  const { rows } = matrixShape(gate.tensor);
  const behind = cutAlike([up], upFormat, bindableBytes).map((plan) => ({
    ...plan,
    firstColumn: rows + plan.firstColumn,
  }));
  return { gateUp: [], ungated: [...cutAlike([gate], gateFormat, bindableBytes), ...behind] };
}

/** All matrices of a plan. */
export function matricesOf({ embedding, layers, head }: WeightPlan): MatrixPlan[] {
  return [...embedding, ...layers.flatMap(layerMatrices), ...(head ?? [])];
}

export function layerMatrices({ qkv, output, gateUp, ungated, down }: LayerPlan): MatrixPlan[] {
  return [...qkv, ...output, ...gateUp, ...ungated, ...down];
}

/** Formats of embedding and head, each once. */
export function headFormats({ embedding, head = [] }: WeightPlan): WeightFormat[] {
  const formats = [...embedding, ...head].map(({ format }) => format);
  return [...new Map(formats.map((format) => [formatName(format), format])).values()];
}

/** All vectors of a plan that are no biases. */
export function normsOf({ layers, finalNorm }: WeightPlan): TensorSpec[] {
  return [...layers.flatMap(layerNorms), finalNorm];
}

export function layerNorms(layer: LayerPlan): TensorSpec[] {
  const norms = [
    layer.inputNorm,
    layer.queryNorm,
    layer.keyNorm,
    layer.postAttentionNorm,
    layer.preFeedforwardNorm,
    layer.postFeedforwardNorm,
  ];
  return norms.filter((norm) => norm !== undefined);
}

/** Bytes of the `scales` buffer of a matrix, with the biases behind the scales. */
export function scalesBytes({ format, inputSize, columns, bias }: MatrixPlan): number {
  return Math.ceil(scaleBytes(format, inputSize, columns) / 4) * 4 + (bias ? columns * 4 : 0);
}

/** Bytes of all weights on the GPU. */
export function plannedBytes(plan: WeightPlan): number {
  return heldBytes(matricesOf(plan), normsOf(plan));
}

/** Bytes of matrices and norms on the GPU. */
export function heldBytes(matrices: readonly MatrixPlan[], norms: readonly TensorSpec[]): number {
  const ofMatrices = matrices.reduce((sum, matrix) => {
    const hasScales = isBlockFormat(matrix.format) || matrix.bias;
    return sum + weightBytes(matrix.format, matrix.inputSize, matrix.columns) + (hasScales ? scalesBytes(matrix) : 0);
  }, 0);
  return norms.reduce((sum, norm) => sum + matrixShape(norm).inputSize * 4, ofMatrices);
}

/** A tensor of a matrix, and the biases of its products. */
export interface Member {
  tensor: TensorSpec;
  bias?: TensorSpec | undefined;
}

/** Tensors of one input size, side by side: a matrix for each run of one format. */
function byFormat(members: readonly Member[], formatOf: (tensor: TensorSpec) => WeightFormat): MatrixPlan[] {
  const matrices: MatrixPlan[] = [];
  let firstColumn = 0;
  for (const member of members) {
    const format = formatOf(member.tensor);
    let plan = matrices.at(-1);
    if (!plan || formatName(plan.format) !== formatName(format)) {
      plan = { ...emptyPlan([], format), inputSize: matrixShape(member.tensor).inputSize, firstColumn };
      matrices.push(plan);
    }
    const { rows } = matrixShape(member.tensor);
    const landing = { firstRow: 0, rows, firstColumn: plan.columns };
    plan.name += `${plan.name && " + "}${member.tensor.name}`;
    plan.landings.push({ tensor: member.tensor, ...landing });
    if (member.bias) plan.biases.push({ tensor: member.bias, ...landing });
    plan.bias ||= member.bias !== undefined;
    plan.columns += rows;
    firstColumn += rows;
  }
  return matrices;
}

/** Tensors of one shape, side by side, cut where they must be. */
function cutAlike(members: readonly Member[], format: WeightFormat, bindableBytes: number): MatrixPlan[] {
  const { rows, inputSize } = matrixShape(members[0]!.tensor);
  const runs = columnRuns(format, inputSize, rows, bindableBytes, members.length);
  return runs.map(({ first, count }) => {
    const plan = emptyPlan(members, format);
    plan.firstColumn = first;
    plan.columns = members.length * count;
    if (runs.length > 1) plan.name += `, from ${first} on`;
    for (const [i, { tensor, bias }] of members.entries()) {
      const landing = { firstRow: first, rows: count, firstColumn: i * count };
      plan.landings.push({ tensor, ...landing });
      if (bias) plan.biases.push({ tensor: bias, ...landing });
    }
    return plan;
  });
}

function emptyPlan(members: readonly Member[], format: WeightFormat): MatrixPlan {
  const inputSize = members[0] ? matrixShape(members[0].tensor).inputSize : 0;
  const name = members.map(({ tensor }) => tensor.name).join(" + ");
  const bias = members.some((member) => member.bias);
  return { name, format, inputSize, columns: 0, firstColumn: 0, landings: [], biases: [], bias };
}

function requireBindable(plan: MatrixPlan, dtype: Dtype, bindableBytes: number): void {
  const { name, format, inputSize, columns } = plan;
  const needed = Math.max(weightBytes(format, inputSize, columns), scalesBytes(plan));
  if (needed <= bindableBytes) return;
  const other = DTYPES.find((type) => weightBytes(formatsOf(type).layers, inputSize, columns) <= bindableBytes);
  throw new GpuError(
    `weights/${name}`,
    `it needs ${needed} bytes in ${isBlockFormat(format) ? formatName(format) : dtype} and this device binds at most ` +
      `${bindableBytes}${other ? `: in ${other} it fits` : ""}`,
  );
}
