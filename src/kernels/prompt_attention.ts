/**
 * Attention of the rows of a prompt over the KV cache, in one dispatch (shaders/attention/prompt_*.wgsl).
 *
 * The rows stand at consecutive positions, and every position they see where the text's pages say. A row's result does not
 * depend on the other rows, so a prompt may be cut into chunks anywhere.
 */

import committedSlots from "../../shaders/attention/committed_slots.wgsl?raw";
import threads from "../../shaders/attention/prompt_threads.wgsl?raw";
import tiles from "../../shaders/attention/prompt_tiles.wgsl?raw";
import visibleKeys from "../../shaders/attention/visible_keys.wgsl?raw";
import walkKeys from "../../shaders/attention/walk_keys.wgsl?raw";
import pages from "../../shaders/rows/pages.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { ATTENTION_INPUTS, checkHeadShape, groupSize, type HeadShape } from "./attention_shape.ts";
import { COMMON_CONSTANTS, PAGE_SLOTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { KV_PIECES, type KvType } from "./kv_format.ts";

/** `threads`: no barriers, for software adapters. `tiles`: for GPUs. They differ in their order of sums. */
export type PromptVariant = "threads" | "tiles";

export interface PromptOptions extends HeadShape {
  kvType: KvType;
  variant: PromptVariant;
}

const BINDINGS = {
  ...ATTENTION_INPUTS,
  attended: "read-write",
} as const;

/** Threads of a workgroup without barriers: few, so that the threads of a short prompt fill all cores. */
const THREADS_WORKGROUP = 8;

/** Queries and keys of a tile, and threads: what fits into 16 KiB of workgroup memory and gives every thread a key. */
function tileOf(headDim: number): { queries: number; keys: number; threads: number } {
  if (headDim <= 64) return { queries: 16, keys: 32, threads: WORKGROUP };
  if (headDim <= 128) return { queries: 8, keys: 16, threads: WORKGROUP };
  return { queries: 4, keys: 8, threads: WORKGROUP / 2 };
}

/** Queries that a thread takes at once. Its code grows with them, and compiling takes seconds beyond 64 vec4. */
function queriesOfThread(headDim: number): number {
  return Math.max(1, Math.min(4, Math.floor(64 / (headDim / 4))));
}

export class PromptAttention extends Kernel<keyof typeof BINDINGS> {
  readonly #shape: HeadShape;
  readonly #variant: PromptVariant;
  /** Queries of a thread or a workgroup. */
  readonly #queries: number;

  /** @throws RangeError for a shape that the kernels do not take */
  constructor(device: Device, { kvType, variant, ...shape }: PromptOptions) {
    checkHeadShape(shape);
    const { headDim } = shape;
    const halfVectors = headDim / 8;
    const tile = tileOf(headDim);
    const queries = variant === "threads" ? queriesOfThread(headDim) : tile.queries;
    const constants = { ...COMMON_CONSTANTS, PAGE_SLOTS, HEAD_VECTORS: 2 * halfVectors, HALF_VECTORS: halfVectors };
    const shared = [rows, pages, visibleKeys, committedSlots, KV_PIECES[kvType]];
    const threadsPerQuery = tile.threads / tile.queries;
    super(
      device,
      {
        name: `attention/prompt_${variant}`,
        code: variant === "threads" ? [...shared, walkKeys, threads] : [...shared, tiles],
        bindings: BINDINGS,
      },
      variant === "threads"
        ? { ...constants, QUERIES: queries, WORKGROUP: THREADS_WORKGROUP }
        : {
            ...constants,
            WORKGROUP: tile.threads,
            TILE_QUERIES: tile.queries,
            TILE_KEYS: tile.keys,
            THREADS_PER_QUERY: threadsPerQuery,
            KEYS_PER_THREAD: tile.keys / threadsPerQuery,
            PAIRS_PER_THREAD: groups(halfVectors, threadsPerQuery),
          },
    );
    this.#shape = shape;
    this.#variant = variant;
    this.#queries = queries;
  }

  /** One thread or workgroup a (key-value head, block of queries). */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    const { kvHeads } = this.#shape;
    const blocks = groups(rows.count * groupSize(this.#shape), this.#queries);
    this.record(
      recorder,
      group,
      rows.range,
      this.#variant === "threads" ? [groups(blocks * kvHeads, THREADS_WORKGROUP)] : [blocks, kvHeads],
    );
  }
}
