/**
 * The row table: which tokens at which positions a forward pass works on, the ranges of rows of each of its passes, and the
 * pages of the KV cache that texts' keys and values stand in.
 *
 * A round's rows are written by the plan kernel; the prompt's are written here.
 */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { BufferSlice } from "../gpu/pipelines.ts";
import { BufferUsage } from "../gpu/usage.ts";
import {
  LANE_BYTES,
  LANES,
  PAGE_SLOTS,
  PROMPT_CAPACITY,
  RANGE_BYTES,
  RANGE_CHUNK,
  RANGE_COUNT,
  RANGE_LAST,
  ROW_BYTES,
} from "../kernels/constants.ts";
import type { RowSet } from "../kernels/kernel.ts";
import { chainOf, encodeRanges, encodeRows } from "../kernels/rows.ts";
import { pagesFor } from "./kv_pages.ts";
import type { Regime } from "./layer_kernels.ts";

/** Rows on their way through the layers. */
export interface PassRows extends RowSet {
  regime: Regime;
}

export class RowTable {
  /** `[PROMPT_CAPACITY]` Row */
  readonly rows: GPUBuffer;
  /** `[RANGE_COUNT]` RowRange */
  readonly ranges: GPUBuffer;
  /** `[LANES][lanePages]` u32: the pages of each text that is worked on (shaders/rows/pages.wgsl) */
  readonly pages: GPUBuffer;
  /** Entries a lane: those of a context, and what alignment adds. */
  readonly lanePages: number;
  /** The same on the host. A lane begins with page n as the n-th one: each position stands in the slot of its number. */
  readonly #pages: Uint32Array<ArrayBuffer>;
  /** The last row of the chunk, as it stands at the front of the table. */
  readonly #last: GPUBuffer;
  readonly #device: Device;

  constructor(device: Device, contextLength: number) {
    this.#device = device;
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = BufferUsage;
    this.rows = device.ledger.allocate("activations", "rows", PROMPT_CAPACITY * ROW_BYTES, STORAGE | COPY_DST);
    this.#last = device.ledger.allocate("activations", "last row", ROW_BYTES, COPY_SRC | COPY_DST);
    const rangeBytes = RANGE_COUNT * RANGE_BYTES;
    this.ranges = device.ledger.allocate("activations", "row ranges", rangeBytes, STORAGE | UNIFORM | COPY_DST);
    this.lanePages = Math.ceil((pagesFor(contextLength) * 4) / LANE_BYTES) * (LANE_BYTES / 4);
    this.#pages = Uint32Array.from({ length: LANES * this.lanePages }, (_, i) => i % this.lanePages);
    this.pages = device.ledger.allocate("activations", "pages", this.#pages.byteLength, STORAGE | COPY_DST);
    device.handle.queue.writeBuffer(this.pages, 0, this.#pages);
  }

  /**
   * For the next submissions, the pages of the text of a lane from page number `from` of it on.
   * @param pages of the KV cache; where a text has fewer than the context, the rest is not looked at
   */
  usePages(lane: number, pages: readonly number[], from: number): void {
    if (pages.length === 0) return;
    const begin = lane * this.lanePages + from;
    this.#pages.set(pages, begin);
    this.#device.handle.queue.writeBuffer(this.pages, begin * 4, new Uint32Array(pages));
  }

  /** Where the keys and values of a position of the text of a lane stand. */
  slotOf(lane: number, position: number): number {
    const page = this.#pages[lane * this.lanePages + Math.floor(position / PAGE_SLOTS)]!;
    return page * PAGE_SLOTS + (position % PAGE_SLOTS);
  }

  /** The page table of one lane. */
  pagesOf(lane: number): BufferSlice {
    const size = this.lanePages * 4;
    return { buffer: this.pages, offset: lane * size, size };
  }

  /**
   * Makes the table hold a run of tokens at positions `start`, `start + 1`, ..., for the next submission.
   * @param ids at most `PROMPT_CAPACITY`
   * @param regime which kernels compute them
   * @param lane of the text
   * @returns the rows of all of them, and the last one alone as `liftLast` leaves it
   */
  writeChunk(
    ids: readonly number[],
    start: number,
    regime: Regime = "prompt",
    lane = 0,
  ): { chunk: PassRows; last: PassRows } {
    const { queue } = this.#device.handle;
    const end = start + ids.length;
    const place = { slotOf: (position: number) => this.slotOf(lane, position), lane };
    queue.writeBuffer(this.rows, 0, encodeRows(chainOf(ids, start, place)));
    queue.writeBuffer(this.#last, 0, encodeRows(chainOf(ids.slice(-1), end - 1, place)));
    // RANGE_LAST follows RANGE_CHUNK.
    const ranges = encodeRanges([
      { first: 0, count: ids.length },
      { first: 0, count: 1 },
    ]);
    queue.writeBuffer(this.ranges, RANGE_CHUNK * RANGE_BYTES, ranges);
    return {
      chunk: { range: RANGE_CHUNK, count: ids.length, end, regime },
      last: { range: RANGE_LAST, count: 1, end, regime },
    };
  }

  /** Records that the chunk's last row becomes row 0 of the table: heads and selection work on the first rows only. */
  liftLast(recorder: Recorder): void {
    recorder.copy(this.#last, 0, this.rows, 0, ROW_BYTES);
  }
}
