/** A copy of the residual stream for an exit adapter (shaders/exit_adapter/fork.wgsl). */

import fork from "../../shaders/exit_adapter/fork.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { streamStride } from "./matmul_form.ts";

const BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  stream: "read",
  normWeight: "read",
  forked: "read-write",
} as const;

/** Contents of the `Shape` uniform. */
export function forkShape(hiddenSize: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array([hiddenSize / 4, streamStride(hiddenSize) / 8]);
}

export class Fork extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device) {
    super(device, { name: "exit_adapter/fork", code: [rows, fork], bindings: BINDINGS }, COMMON_CONSTANTS);
  }

  /** One thread a vec4. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, hiddenSize: number): void {
    this.record(recorder, group, rows.range, [groups(hiddenSize / 4, WORKGROUP), rows.count]);
  }
}
