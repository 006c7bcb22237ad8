/** The forms of the few-row matmul: which WGSL texts make each, how its buffers are bound and shaped. */

import add from "../../shaders/matmul/add.wgsl?raw";
import best from "../../shaders/matmul/best.wgsl?raw";
import columns from "../../shaders/matmul/columns.wgsl?raw";
import dotRows from "../../shaders/matmul/dot_rows.wgsl?raw";
import gated from "../../shaders/matmul/gated.wgsl?raw";
import headArgmax from "../../shaders/matmul/head_argmax.wgsl?raw";
import store from "../../shaders/matmul/store.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { KernelSource } from "../gpu/pipelines.ts";

/** Store the products, add them to the residual, gated MLP, or head with the first stage of the argmax. */
export type MatmulForm = "store" | "add" | "gated" | "headArgmax";

export const MATMUL_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  weight: "read",
  input: "read",
  output: "read-write",
} as const;

export type MatmulBinding = keyof typeof MATMUL_BINDINGS;

const CODE: Record<MatmulForm, readonly string[]> = {
  store: [rows, dotRows, columns, store],
  add: [rows, dotRows, columns, add],
  gated: [rows, dotRows, columns, gated],
  headArgmax: [rows, dotRows, best, headArgmax],
};

/** The kernel of a form. */
export function matmulSource(form: MatmulForm): KernelSource & { bindings: typeof MATMUL_BINDINGS } {
  return { name: `matmul/${form}`, code: CODE[form], bindings: MATMUL_BINDINGS };
}

/** Weight columns an output needs: gate and up for the gated form. */
export function columnsOf(form: MatmulForm): number {
  return form === "gated" ? 2 : 1;
}

/** Contents of the `Shape` uniform: K / 4, outputs a row, columns of the weight matrix. */
export function matmulShape(form: MatmulForm, inputSize: number, outputSize: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array([inputSize / 4, outputSize, outputSize * columnsOf(form)]);
}
