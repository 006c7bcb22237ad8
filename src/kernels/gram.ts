/** Sums of products of two rows' elements, over many rows (shaders/exit_adapter/gram.wgsl). */

import gram from "../../shaders/exit_adapter/gram.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";

const BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  left: "read",
  right: "read",
  sums: "read-write",
} as const;

/** Elements of the rows that are multiplied, each a multiple of 4; strides are elements from row to row. */
export interface GramSize {
  left: number;
  right: number;
  leftStride: number;
  rightStride: number;
}

/** Contents of the `Shape` uniform. */
export function gramShape({ left, right, leftStride, rightStride }: GramSize): Uint32Array<ArrayBuffer> {
  return new Uint32Array([left / 4, right / 4, leftStride / 4, rightStride / 4]);
}

export class Gram extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device) {
    super(device, { name: "exit_adapter/gram", code: [rows, gram], bindings: BINDINGS }, COMMON_CONSTANTS);
  }

  /** One thread a block of 4 x 4. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, { left, right }: GramSize): void {
    this.record(recorder, group, rows.range, [groups(right / 4, WORKGROUP), left / 4]);
  }
}
