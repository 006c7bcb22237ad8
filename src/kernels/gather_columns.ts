/** Some columns of a matrix as a matrix of their own (shaders/weights/gather_columns.wgsl). */

import gatherColumns from "../../shaders/weights/gather_columns.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { WORKGROUP } from "./constants.ts";
import { groups, Kernel } from "./kernel.ts";

const BINDINGS = { shape: "uniform", ids: "read", source: "read", target_: "read-write" } as const;

/** Contents of the `Shape` uniform. */
export function gatherShape(count: number, columns: number, firstColumn: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array([count, columns, firstColumn, 0]);
}

export class GatherColumns extends Kernel<keyof typeof BINDINGS> {
  /** @param element steps of weights, or words of scales */
  constructor(device: Device, element: "vec4u" | "u32") {
    const code = [`alias ELEMENT = ${element};`, gatherColumns];
    super(device, { name: `weights/gather_columns ${element}`, code, bindings: BINDINGS }, { WORKGROUP });
  }

  /** @param rows steps or words of a column */
  dispatch(recorder: Recorder, group: GPUBindGroup, count: number, rows: number): void {
    this.record(recorder, group, undefined, [groups(count, WORKGROUP), rows]);
  }
}
