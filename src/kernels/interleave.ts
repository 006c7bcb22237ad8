/** Lays a checkpoint's rows into the layout of the matmul (shaders/weights/interleave.wgsl). */

import interleave from "../../shaders/weights/interleave.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel } from "./kernel.ts";

export type FloatType = "F32" | "F16" | "BF16";

const BINDINGS = { shape: "uniform", source: "read", weight: "read-write" } as const;

/** Workgroups in y: each walks every VECTOR_STRIDE-th vec4 of its rows. */
const VECTOR_STRIDE = 64;

/** Contents of the `Shape` uniform. */
export function interleaveShape(
  rows: number,
  inputSize: number,
  firstColumn: number,
  weightColumns: number,
): Uint32Array<ArrayBuffer> {
  return new Uint32Array([rows, inputSize / 4, firstColumn, weightColumns]);
}

export class Interleave extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device, type: FloatType) {
    super(
      device,
      { name: "weights/interleave", code: [interleave], bindings: BINDINGS },
      {
        ...COMMON_CONSTANTS,
        VECTOR_STRIDE,
        ELEMENT_F32: Number(type === "F32"),
        ELEMENT_F16: Number(type === "F16"),
        ELEMENT_BF16: Number(type === "BF16"),
      },
    );
  }

  dispatch(recorder: Recorder, group: GPUBindGroup, rows: number): void {
    this.record(recorder, group, undefined, [groups(rows, WORKGROUP), VECTOR_STRIDE]);
  }
}
