/** normed = RMSNorm(hidden) * weight (shaders/norm/rms_norm.wgsl). */

import rmsNorm from "../../shaders/norm/rms_norm.wgsl?raw";
import rowScale from "../../shaders/norm/row_scale.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS } from "./constants.ts";
import { Kernel, type RowSet } from "./kernel.ts";

const BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  hidden: "read",
  weight: "read",
  normed: "read-write",
} as const;

/** Contents of the `Shape` uniform. Strides are elements from row to row. */
export function rmsNormShape(
  size: number,
  epsilon: number,
  inputStride = size,
  outputStride = size,
): Uint32Array<ArrayBuffer> {
  const shape = new Uint32Array([size / 4, 0, inputStride / 4, outputStride / 4]);
  new Float32Array(shape.buffer)[1] = epsilon;
  return shape;
}

export class RmsNorm extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device) {
    super(device, { name: "rms_norm", code: [rows, rowScale, rmsNorm], bindings: BINDINGS }, COMMON_CONSTANTS);
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}
