/**
 * Attention of a few rows over the KV cache: chunks of keys, then their merge (shaders/attention/).
 *
 * Every key and value is loaded once for several queries: the query heads that share it and, where they see the same
 * keys, the rows.
 */

import threads from "../../shaders/attention/few_queries_threads.wgsl?raw";
import workgroup from "../../shaders/attention/few_queries_workgroup.wgsl?raw";
import keySlots from "../../shaders/attention/key_slots.wgsl?raw";
import mergeChunks from "../../shaders/attention/merge_chunks.wgsl?raw";
import queryBlocks from "../../shaders/attention/query_blocks.wgsl?raw";
import visibleKeys from "../../shaders/attention/visible_keys.wgsl?raw";
import walkKeys from "../../shaders/attention/walk_keys.wgsl?raw";
import pages from "../../shaders/rows/pages.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { ATTENTION_INPUTS, checkHeadShape, chunkCount, groupSize, type HeadShape } from "./attention_shape.ts";
import { COMMON_CONSTANTS, KEYS_PER_CHUNK, PAGE_SLOTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { KV_PIECES, type KvType } from "./kv_format.ts";

/** `threads`: no barriers, for software adapters. `workgroup`: for GPUs. They differ in their order of sums. */
export type FewQueryVariant = "threads" | "workgroup";

export interface FewQueryOptions extends HeadShape {
  kvType: KvType;
  variant: FewQueryVariant;
}

const CHUNK_BINDINGS = {
  ...ATTENTION_INPUTS,
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

/** Buffers of both stages, by the names the shaders give them. */
export type FewQueryBuffers = Readonly<Record<keyof typeof CHUNK_BINDINGS | keyof typeof MERGE_BINDINGS, GPUBuffer>>;

/** The bind groups of both stages. */
export interface FewQueryGroups {
  chunks: GPUBindGroup;
  merge: GPUBindGroup;
}

/** Threads of a workgroup without barriers: few, so that the few threads of a short context fill all cores. */
const THREADS_WORKGROUP = 8;

/** vec4 of queries that a thread keeps in registers: code grows with it, and compiling takes seconds beyond this. */
const THREADS_VECTORS = 64;

/** Queries of a workgroup; more do not fit into its memory at the largest heads. */
const WORKGROUP_QUERIES = 4;

/** Parts that a workgroup cuts a chunk's keys into when it sums values; more would take longer to add up. */
const MOST_KEY_PARTS = 16;

/**
 * Queries that a thread takes at once: the group's heads evenly, as far as registers go. One key for one head alone would
 * never be shared, so it takes two rows then.
 */
function queriesOfThread(shape: HeadShape): number {
  const most = Math.max(1, Math.min(4, Math.floor(THREADS_VECTORS / (shape.headDim / 4))));
  const wanted = Math.max(2, groupSize(shape));
  return Math.ceil(wanted / Math.ceil(wanted / most));
}

export class FewQueryAttention {
  readonly #shape: HeadShape;
  readonly #variant: FewQueryVariant;
  readonly #queries: number;
  readonly #chunks: Kernel<keyof typeof CHUNK_BINDINGS>;
  readonly #merge: Kernel<keyof typeof MERGE_BINDINGS>;

  /** @throws RangeError for a shape that the kernels do not take */
  constructor(device: Device, { kvType, variant, ...shape }: FewQueryOptions) {
    checkHeadShape(shape);
    this.#shape = shape;
    this.#variant = variant;
    this.#queries = variant === "threads" ? queriesOfThread(shape) : WORKGROUP_QUERIES;
    const halfVectors = shape.headDim / 8;
    const keyParts = Math.min(MOST_KEY_PARTS, Math.floor(KEYS_PER_CHUNK / halfVectors));
    const constants = {
      ...COMMON_CONSTANTS,
      KEYS_PER_CHUNK,
      PAGE_SLOTS,
      HEAD_VECTORS: 2 * halfVectors,
      HALF_VECTORS: halfVectors,
      QUERIES: this.#queries,
    };
    const shared = [rows, pages, visibleKeys, keySlots, queryBlocks, KV_PIECES[kvType]];
    this.#chunks =
      variant === "threads"
        ? new Kernel(
            device,
            { name: "attention/few_queries_threads", code: [...shared, walkKeys, threads], bindings: CHUNK_BINDINGS },
            { ...constants, WORKGROUP: THREADS_WORKGROUP },
          )
        : new Kernel(
            device,
            { name: "attention/few_queries_workgroup", code: [...shared, workgroup], bindings: CHUNK_BINDINGS },
            {
              ...constants,
              WORKGROUP: KEYS_PER_CHUNK, // a thread a key
              KEY_PARTS: keyParts,
              KEYS_PER_PART: groups(KEYS_PER_CHUNK, keyParts),
              SCORE_PARTS: KEYS_PER_CHUNK / WORKGROUP_QUERIES,
            },
          );
    this.#merge = new Kernel(
      device,
      { name: "attention/merge_chunks", code: [rows, visibleKeys, mergeChunks], bindings: MERGE_BINDINGS },
      { ...COMMON_CONSTANTS, KEYS_PER_CHUNK, HEAD_VECTORS: 2 * halfVectors },
    );
  }

  /** Compiles both stages. */
  async prepare(): Promise<void> {
    await Promise.all([this.#chunks.prepare(), this.#merge.prepare()]);
  }

  bind(buffers: FewQueryBuffers): FewQueryGroups {
    return { chunks: this.#chunks.bind(buffers), merge: this.#merge.bind(buffers) };
  }

  /** Two dispatches: one thread or workgroup a (key-value head, chunk, block of queries); one thread a vec4 of the output. */
  dispatch(recorder: Recorder, group: FewQueryGroups, rows: RowSet): void {
    const { heads, kvHeads, headDim } = this.#shape;
    const chunks = chunkCount(rows.end);
    // As many blocks as there are where no two rows see the same keys. Where rows share blocks, the rest return at once.
    const blocks = rows.count * groups(groupSize(this.#shape), this.#queries);
    this.#chunks.record(
      recorder,
      group.chunks,
      rows.range,
      this.#variant === "threads" ? [groups(chunks * kvHeads, THREADS_WORKGROUP), blocks] : [chunks, kvHeads, blocks],
    );
    this.#merge.record(recorder, group.merge, rows.range, [groups((heads * headDim) / 4, WORKGROUP), rows.count]);
  }
}
