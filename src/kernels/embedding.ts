/** stream = embedding of each row's token (shaders/embedding/embedding.wgsl). */

import embedding from "../../shaders/embedding/embedding.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import elementBlocks from "../../shaders/weights/formats/element_blocks.wgsl?raw";
import elementFloats from "../../shaders/weights/formats/element_floats.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { formatCode, formatName, isBlockFormat, paddedSize, type WeightFormat } from "./weight_format.ts";

const BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  weight: "read",
  scales: "read",
  normWeight: "read",
  stream: "read-write",
} as const;

/** A matrix of the embeddings of ids [firstId, firstId + columns). */
export interface EmbeddingSize {
  hiddenSize: number;
  columns: number;
  firstId: number;
  vocabSize: number;
  /** Factor of every embedding; 1 for most models. */
  scale?: number;
}

/** Contents of the `Shape` uniform. */
export function embeddingShape(size: EmbeddingSize): Uint32Array<ArrayBuffer> {
  const { hiddenSize, columns, firstId, vocabSize, scale = 1 } = size;
  const words = new Uint32Array([hiddenSize / 4, paddedSize(hiddenSize) / 4, columns, firstId, vocabSize, 0, 0, 0]);
  new Float32Array(words.buffer)[5] = scale;
  return words;
}

export class Embedding extends Kernel<keyof typeof BINDINGS> {
  constructor(device: Device, format: WeightFormat) {
    const { code, constants } = formatCode(format);
    const element = isBlockFormat(format) ? elementBlocks : elementFloats;
    super(
      device,
      { name: `embedding ${formatName(format)}`, code: [rows, ...code, element, embedding], bindings: BINDINGS },
      { ...COMMON_CONSTANTS, ...constants },
    );
  }

  /** One thread a vec4 of each row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, hiddenSize: number): void {
    this.record(recorder, group, rows.range, [groups(hiddenSize / 4, WORKGROUP), rows.count]);
  }
}
