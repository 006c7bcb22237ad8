/**
 * The row table: which tokens at which positions a forward pass works on, the ranges of rows of each of its passes, and the
 * pages of the KV cache that the text's keys and values stand in.
 *
 * A round's rows are written by the plan kernel; the prompt's are written here.
 */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import {
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
  /** `[pages of a context]` u32: the text's pages (shaders/rows/pages.wgsl) */
  readonly pages: GPUBuffer;
  /** The same on the host. A table begins with page n as the n-th one: each position stands in the slot of its number. */
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
    this.#pages = Uint32Array.from({ length: pagesFor(contextLength) }, (_, i) => i);
    this.pages = device.ledger.allocate("activations", "pages", this.#pages.byteLength, STORAGE | COPY_DST);
    this.usePages([...this.#pages]);
  }

  /**
   * For the next submissions, the pages of their text from page number `from` of it on.
   * @param pages of the KV cache; where a text has fewer than the context, the rest is not looked at
   */
  usePages(pages: readonly number[], from = 0): void {
    if (pages.length === 0) return;
    this.#pages.set(pages, from);
    this.#device.handle.queue.writeBuffer(this.pages, from * 4, new Uint32Array(pages));
  }

  /** Where the keys and values of a position stand. */
  slotOf(position: number): number {
    return this.#pages[Math.floor(position / PAGE_SLOTS)]! * PAGE_SLOTS + (position % PAGE_SLOTS);
  }

  /**
   * Makes the table hold a run of tokens at positions `start`, `start + 1`, ..., for the next submission.
   * @param ids at most `PROMPT_CAPACITY`
   * @param regime which kernels compute them
   * @returns the rows of all of them, and the last one alone as `liftLast` leaves it
   */
  writeChunk(ids: readonly number[], start: number, regime: Regime = "prompt"): { chunk: PassRows; last: PassRows } {
    const { queue } = this.#device.handle;
    const end = start + ids.length;
    const slotOf = (position: number) => this.slotOf(position);
    queue.writeBuffer(this.rows, 0, encodeRows(chainOf(ids, start, slotOf)));
    queue.writeBuffer(this.#last, 0, encodeRows(chainOf(ids.slice(-1), end - 1, slotOf)));
    // RANGE_LAST follows RANGE_CHUNK.
    const ranges = encodeRanges([
      { first: 0, count: ids.length, linear: end },
      { first: 0, count: 1, linear: end },
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
