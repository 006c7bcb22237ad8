/** hidden = embedding of each row's token (shaders/embedding/embedding.wgsl). */

import embedding from "../../shaders/embedding/embedding.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";

const BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  embedding: "read",
  hidden: "read-write",
} as const;

/** Contents of the `Shape` uniform. */
export function embeddingShape(hiddenSize: number, vocabSize: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array([hiddenSize / 4, vocabSize]);
}

export class Embedding extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device) {
    super(device, { name: "embedding", code: [rows, embedding], bindings: BINDINGS }, COMMON_CONSTANTS);
  }

  /** One thread a vec4 of each row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, hiddenSize: number): void {
    this.record(recorder, group, rows.range, [groups(hiddenSize / 4, WORKGROUP), rows.count]);
  }
}
