/**
 * The forms of a matmul: what becomes of its products, and how its buffers are bound and shaped (shaders/matmul/).
 *
 * - `store`: they are stored (logits, and what is normed before it is used).
 * - `add`: they are added to the residual stream, which is also stored times the next norm's weight.
 * - `gated`: gate and up become activation(gate) * up.
 * - `qkv`: queries are rotated, keys rotated and written to the cache with the values.
 * - `headArgmax`: logits are not stored; each workgroup keeps its best.
 */

import kvWriteF16 from "../../shaders/attention/kv_write_f16.wgsl?raw";
import kvWriteF32 from "../../shaders/attention/kv_write_f32.wgsl?raw";
import add from "../../shaders/matmul/add.wgsl?raw";
import beginNone from "../../shaders/matmul/begin_none.wgsl?raw";
import best from "../../shaders/matmul/best.wgsl?raw";
import bias from "../../shaders/matmul/bias.wgsl?raw";
import biasNone from "../../shaders/matmul/bias_none.wgsl?raw";
import completeNone from "../../shaders/matmul/complete_none.wgsl?raw";
import gated from "../../shaders/matmul/gated.wgsl?raw";
import geluTanh from "../../shaders/matmul/gelu_tanh.wgsl?raw";
import headArgmax from "../../shaders/matmul/head_argmax.wgsl?raw";
import matmul from "../../shaders/matmul/matmul.wgsl?raw";
import normScale from "../../shaders/matmul/norm_scale.wgsl?raw";
import qkv from "../../shaders/matmul/qkv.wgsl?raw";
import silu from "../../shaders/matmul/silu.wgsl?raw";
import store from "../../shaders/matmul/store.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { BindingKind, Constants } from "../gpu/pipelines.ts";
import type { Activation } from "../model/spec.ts";
import type { HeadShape } from "./attention_shape.ts";
import type { KvType } from "./kv_format.ts";
import { formatCode, formatName, paddedSize, scaleBytes, stepCount, type WeightFormat } from "./weight_format.ts";

const SHARED_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  weight: "read",
  scales: "read",
  input: "read",
} as const;

const FORM_BINDINGS = {
  store: { output: "read-write" },
  add: { normWeight: "read", stream: "read-write" },
  gated: { output: "read-write" },
  qkv: { rows: "read", rotations: "read", queries: "read-write", keys: "read-write", values: "read-write" },
  headArgmax: { candidates: "read-write" },
} as const satisfies Record<string, Record<string, BindingKind>>;

export type MatmulForm = keyof typeof FORM_BINDINGS;

/** Names of the buffers that a form's kernel takes. */
export type MatmulBinding<F extends MatmulForm = MatmulForm> =
  | keyof typeof SHARED_BINDINGS
  | (F extends MatmulForm ? keyof (typeof FORM_BINDINGS)[F] : never);

const FORM_CODE: Record<MatmulForm, readonly string[]> = {
  store: [store, completeNone],
  add: [add, completeNone],
  gated: [gated, completeNone],
  qkv: [qkv, completeNone],
  headArgmax: [best, headArgmax],
};

/** Shares in which a row's squares are summed: fixed, since the order of a sum must not depend on the rows. */
export const NORM_SHARES = 16;

/** Which kernel: the form, the format of its weights, and what else its code depends on. */
export interface MatmulKind<F extends MatmulForm = MatmulForm> {
  form: F;
  format: WeightFormat;
  /** The input is the residual stream, normed in the prologue. Default: for `gated` and `qkv`. */
  normed?: boolean;
  /** Each product has a bias. */
  bias?: boolean;
  /** Of `gated`; default: `silu`. */
  activation?: Activation;
  /** Type of the cache that `qkv` writes; default: `f32`. */
  kv?: KvType;
}

/** A kind in a few words, for names and as a key. */
export function kindName(kind: MatmulKind): string {
  const { form, format, bias = false, activation = "silu", kv = "f32" } = kind;
  const parts = [
    isNormed(kind) === isNormed({ form, format }) ? "" : isNormed(kind) ? "normed" : "not normed",
    bias ? "biased" : "",
    form === "gated" && activation !== "silu" ? activation : "",
    form === "qkv" && kv !== "f32" ? kv : "",
  ];
  return [form, ...parts.filter(Boolean), formatName(format)].join(" ");
}

/** A form's buffers in the order of their binding numbers. */
export function matmulBindings<F extends MatmulForm>(form: F): Record<MatmulBinding<F>, BindingKind> {
  // The compiler cannot see that the two parts make up the keys of this form.
  return { ...SHARED_BINDINGS, ...FORM_BINDINGS[form] } as Record<MatmulBinding<F>, BindingKind>;
}

/** The texts and constants that a form's kernels share, whatever their regime. */
export function matmulCode(kind: MatmulKind): {
  code: readonly string[];
  constants: Constants;
} {
  const { form, format, bias: hasBias = false, activation = "silu", kv = "f32" } = kind;
  const { code, constants } = formatCode(format);
  const pieces = [
    ...(form === "headArgmax" ? [] : [isNormed(kind) ? normScale : beginNone]), // a head begins in its own way
    hasBias ? bias : biasNone,
    ...(form === "gated" ? [activation === "silu" ? silu : geluTanh] : []),
    ...(form === "qkv" ? [kv === "f32" ? kvWriteF32 : kvWriteF16] : []),
  ];
  return {
    code: [rows, ...code, matmul, ...FORM_CODE[form], ...pieces],
    constants: { ...constants, NORM_SHARES, WIDTH: widthOf(form) },
  };
}

/** Weight columns an output needs: gate and up, or the two elements that are rotated together. */
export function widthOf(form: MatmulForm): 1 | 2 {
  return form === "gated" || form === "qkv" ? 2 : 1;
}

/** Whether the input is the residual stream, normed in the prologue. */
export function isNormed({ form, normed = form === "gated" || form === "qkv" }: MatmulKind): boolean {
  return normed;
}

/** The numbers of a product: matrix, input, result. */
export interface MatmulSize {
  /** K */
  inputSize: number;
  /** Numbers made of each row (`qkv`: pairs of them). */
  outputs: number;
  /** Elements from row to row of the input; default: those of the stream where it is normed, else K padded. */
  inputStride?: number;
  /** Elements from row to row of the result; default: `outputs`. */
  resultStride?: number;
  /** Where in a result's row this matrix begins, of several that make it; for `qkv` in pairs; nothing to `add`. */
  resultOffset?: number;
  /** Factor of the products of `store` and `add`; default: 1. */
  factor?: number;
  /** `store` makes softCap * tanh(x / softCap) of what it stores; not so if not given. */
  softCap?: number | undefined;
  /** Id of a head's first output. */
  firstId?: number;
  epsilon?: number;
  headShape?: HeadShape;
}

/** Elements of a row of the residual stream: itself, and itself times the next norm's weight. */
export function streamStride(hiddenSize: number): number {
  return 2 * paddedSize(hiddenSize);
}

/** Outputs, and the distance between a thread's outputs, where it has `outputsPerThread`. */
export function spreadOf(outputs: number, outputsPerThread: number): number {
  return Math.ceil(outputs / outputsPerThread);
}

/** Bytes of the `Shape` uniform. */
export const MATMUL_SHAPE_BYTES = 80;

/** Contents of the `Shape` uniform of matmul.wgsl. */
export function matmulShape(kind: MatmulKind, size: MatmulSize, outputsPerThread: number): Uint32Array<ArrayBuffer> {
  const { form, format } = kind;
  const { inputSize, outputs, headShape = { heads: 0, kvHeads: 0, headDim: 0 } } = size;
  const padded = paddedSize(inputSize);
  const normed = isNormed(kind);
  const columns = outputs * widthOf(form);
  const partner = form === "gated" ? outputs : form === "qkv" ? headShape.headDim / 2 : 0;
  const words = new Uint32Array(MATMUL_SHAPE_BYTES / 4);
  words.set([
    stepCount(format, inputSize),
    columns,
    (size.inputStride ?? (normed ? streamStride(inputSize) : padded)) / 4,
    (normed ? padded : 0) / 4,
    outputs,
    spreadOf(outputs, outputsPerThread),
    partner,
    form === "add" ? streamStride(outputs) : (size.resultStride ?? outputs),
    form === "add" ? paddedSize(outputs) : (size.resultOffset ?? 0),
    inputSize / 4,
    0,
    headShape.headDim / 2,
    headShape.heads,
    headShape.kvHeads,
    size.firstId ?? 0,
    0,
    0,
    biasBegin(format, inputSize, columns),
  ]);
  new Float32Array(words.buffer)[10] = size.epsilon ?? 0;
  new Float32Array(words.buffer).set([size.factor ?? 1, size.softCap ?? 0], 15);
  return words;
}

/** Word of `scales` at which the biases of a matrix begin. */
export function biasBegin(format: WeightFormat, inputSize: number, columns: number): number {
  return Math.ceil(scaleBytes(format, inputSize, columns) / 4);
}
