/**
 * Attention of a few rows over the KV cache: rotate and store, chunks of keys, merge (shaders/attention/).
 *
 * The three kernels always run in this order; the last two share a `Shape` uniform.
 */

import chunks from "../../shaders/attention/chunks.wgsl?raw";
import merge from "../../shaders/attention/merge.wgsl?raw";
import ropeKv from "../../shaders/attention/rope_kv.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS, KEYS_PER_CHUNK, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";

/** Sizes of grouped-query attention. */
export interface HeadShape {
  heads: number;
  kvHeads: number;
  headDim: number;
}

const ROPE_KV_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  rotations: "read",
  qkv: "read-write",
  keys: "read-write",
  values: "read-write",
} as const;

const CHUNK_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  qkv: "read",
  keys: "read",
  values: "read",
  partialSums: "read-write",
  partialSoftmax: "read-write",
} as const;

const MERGE_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  partialSums: "read",
  partialSoftmax: "read",
  attended: "read-write",
} as const;

/** Chunks of keys that `length` positions take. */
export function chunkCount(length: number): number {
  return groups(length, KEYS_PER_CHUNK);
}

/** Contents of the `Shape` uniform of rope_kv.wgsl. */
export function ropeKvShape({ heads, kvHeads, headDim }: HeadShape): Uint32Array<ArrayBuffer> {
  return new Uint32Array([heads, kvHeads, headDim / 2]);
}

/** Contents of the `Shape` uniform of chunks.wgsl and merge.wgsl. */
export function attentionShape(
  { heads, kvHeads, headDim }: HeadShape,
  contextLength: number,
): Uint32Array<ArrayBuffer> {
  const shape = new Uint32Array([heads, kvHeads, chunkCount(contextLength), 0]);
  new Float32Array(shape.buffer)[3] = 1 / Math.sqrt(headDim);
  return shape;
}

/**
 * The rotations of RoPE: `[position][headDim / 2]` of (cos, sin).
 *
 * Inverse frequencies and angles are rounded to f32 as the Python implementations do, so that long contexts agree.
 * Source: RoFormer (Su et al. 2021), section 3.2.2.
 */
export function ropeRotations(contextLength: number, headDim: number, ropeTheta: number): Float32Array<ArrayBuffer> {
  const half = headDim / 2;
  const inverseFrequencies = Float32Array.from({ length: half }, (_, i) => 1 / ropeTheta ** ((2 * i) / headDim));
  const rotations = new Float32Array(contextLength * half * 2);
  for (let position = 0; position < contextLength; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * inverseFrequencies[i]!);
      rotations[(position * half + i) * 2] = Math.cos(angle);
      rotations[(position * half + i) * 2 + 1] = Math.sin(angle);
    }
  }
  return rotations;
}

/** Rotates queries and keys and writes the rows' keys and values into the cache. */
export class RopeKv extends Kernel<keyof typeof ROPE_KV_BINDINGS> {
  constructor(device: Device) {
    super(device, { name: "attention/rope_kv", code: [rows, ropeKv], bindings: ROPE_KV_BINDINGS }, COMMON_CONSTANTS);
  }

  /** One thread a pair of elements of each head of each row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, { heads, kvHeads, headDim }: HeadShape): void {
    const pairs = ((heads + 2 * kvHeads) * headDim) / 2;
    this.record(recorder, group, rows.range, [groups(pairs, WORKGROUP), rows.count]);
  }
}

/** Softmax and weighted values of each chunk of keys. */
export class AttentionChunks extends Kernel<keyof typeof CHUNK_BINDINGS> {
  constructor(device: Device, headDim: number) {
    super(
      device,
      { name: "attention/chunks", code: [rows, chunks], bindings: CHUNK_BINDINGS },
      { ...COMMON_CONSTANTS, KEYS_PER_CHUNK, HEAD_VECTORS: headDim / 4 },
    );
  }

  /** One thread a (row, head, chunk). */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, { heads }: HeadShape): void {
    this.record(recorder, group, rows.range, [groups(rows.count * heads, WORKGROUP), chunkCount(rows.end)]);
  }
}

/** Merges the chunks in ascending order. */
export class AttentionMerge extends Kernel<keyof typeof MERGE_BINDINGS> {
  constructor(device: Device, headDim: number) {
    super(
      device,
      { name: "attention/merge", code: [rows, merge], bindings: MERGE_BINDINGS },
      { ...COMMON_CONSTANTS, KEYS_PER_CHUNK, HEAD_VECTORS: headDim / 4 },
    );
  }

  /** One thread a vec4 of each head's output. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, { heads, headDim }: HeadShape): void {
    this.record(recorder, group, rows.range, [groups((heads * headDim) / 4, WORKGROUP), rows.count]);
  }
}
