/** stream += RMSNorm(product) * weight (shaders/norm/add_normed.wgsl). */

import addNormed from "../../shaders/norm/add_normed.wgsl?raw";
import rowScale from "../../shaders/norm/row_scale.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS } from "./constants.ts";
import { Kernel, type RowSet } from "./kernel.ts";
import { paddedSize } from "./weight_format.ts";

const BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  product: "read",
  weight: "read",
  nextWeight: "read",
  stream: "read-write",
} as const;

/** Contents of the `Shape` uniform, of rows padded as the matmuls' input is. */
export function addNormedShape(hiddenSize: number, epsilon: number): Uint32Array<ArrayBuffer> {
  const padded = paddedSize(hiddenSize) / 4;
  const shape = new Uint32Array([hiddenSize / 4, 0, padded, padded]);
  new Float32Array(shape.buffer)[1] = epsilon;
  return shape;
}

export class AddNormed extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device) {
    super(device, { name: "norm/add_normed", code: [rows, rowScale, addNormed], bindings: BINDINGS }, COMMON_CONSTANTS);
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}
