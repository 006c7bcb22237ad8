/** Queries and keys normed, rotated and placed, for models that norm them (shaders/attention/place_heads.wgsl). */

import kvWriteF16 from "../../shaders/attention/kv_write_f16.wgsl?raw";
import kvWriteF32 from "../../shaders/attention/kv_write_f32.wgsl?raw";
import placeHeads from "../../shaders/attention/place_heads.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { HeadShape } from "./attention_shape.ts";
import { COMMON_CONSTANTS } from "./constants.ts";
import { Kernel, type RowSet } from "./kernel.ts";
import type { KvType } from "./kv_format.ts";

const BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  projected: "read",
  queryNorm: "read",
  keyNorm: "read",
  rotations: "read",
  queries: "read-write",
  keys: "read-write",
  values: "read-write",
} as const;

/**
 * Contents of the `Shape` uniform.
 * @param norm each head is normed by itself, or all heads of a row together
 */
export function placeHeadsShape(
  { heads, kvHeads, headDim }: HeadShape,
  norm: "head" | "row",
  epsilon: number,
): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array([headDim / 2, heads, kvHeads, 0, Number(norm === "row"), 0, 0, 0]);
  new Float32Array(words.buffer)[3] = epsilon;
  return words;
}

export class PlaceHeads extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device, kv: KvType) {
    const write = kv === "f32" ? kvWriteF32 : kvWriteF16;
    super(
      device,
      { name: `attention/place_heads ${kv}`, code: [rows, placeHeads, write], bindings: BINDINGS },
      COMMON_CONSTANTS,
    );
  }

  /** One workgroup a row and head. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, { heads, kvHeads }: HeadShape): void {
    this.record(recorder, group, rows.range, [heads + 2 * kvHeads, rows.count]);
  }
}
