/** output = activation(gate) * up, of products that were stored (shaders/feed_forward/gate.wgsl). */

import gate from "../../shaders/feed_forward/gate.wgsl?raw";
import geluTanh from "../../shaders/matmul/gelu_tanh.wgsl?raw";
import silu from "../../shaders/matmul/silu.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Activation } from "../model/spec.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { paddedSize } from "./weight_format.ts";

const BINDINGS = { range: "offset-uniform", shape: "uniform", products: "read", output: "read-write" } as const;

/** Contents of the `Shape` uniform, of results padded as the matmuls' input is. */
export function gateShape(intermediateSize: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array([intermediateSize / 4, paddedSize(intermediateSize) / 4, 0, 0]);
}

export class Gate extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device, activation: Activation) {
    const piece = activation === "silu" ? silu : geluTanh;
    const source = { name: `feed_forward/gate ${activation}`, code: [rows, gate, piece], bindings: BINDINGS };
    super(device, source, COMMON_CONSTANTS);
  }

  /** One thread a vec4 of each row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, intermediateSize: number): void {
    this.record(recorder, group, rows.range, [groups(intermediateSize / 4, WORKGROUP), rows.count]);
  }
}
