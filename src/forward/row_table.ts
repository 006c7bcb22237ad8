/**
 * The row table: which tokens at which positions a forward pass works on, and the ranges of rows of each of its passes.
 *
 * A round's rows are written by the plan kernel; the prompt's are written here.
 */

import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { PROMPT_CAPACITY, RANGE_BYTES, RANGE_CHUNK, RANGE_COUNT, RANGE_LAST, ROW_BYTES } from "../kernels/constants.ts";
import type { RowSet } from "../kernels/kernel.ts";
import { chainOf, encodeRanges, encodeRows } from "../kernels/rows.ts";
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
  readonly #device: Device;

  constructor(device: Device) {
    this.#device = device;
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    this.rows = device.ledger.allocate("activations", "rows", PROMPT_CAPACITY * ROW_BYTES, STORAGE | COPY_DST);
    const rangeBytes = RANGE_COUNT * RANGE_BYTES;
    this.ranges = device.ledger.allocate("activations", "row ranges", rangeBytes, STORAGE | UNIFORM | COPY_DST);
  }

  /**
   * Makes the table hold a run of tokens at positions `start`, `start + 1`, ..., for the next submission.
   * @param ids at most `PROMPT_CAPACITY`
   * @param regime which kernels compute them
   * @returns the rows of all of them, and of the last one alone
   */
  writeChunk(ids: readonly number[], start: number, regime: Regime = "prompt"): { chunk: PassRows; last: PassRows } {
    const { queue } = this.#device.handle;
    const end = start + ids.length;
    queue.writeBuffer(this.rows, 0, encodeRows(chainOf(ids, start)));
    // RANGE_LAST follows RANGE_CHUNK.
    const ranges = encodeRanges([
      { first: 0, count: ids.length, linear: end },
      { first: ids.length - 1, count: 1, linear: end },
    ]);
    queue.writeBuffer(this.ranges, RANGE_CHUNK * RANGE_BYTES, ranges);
    return {
      chunk: { range: RANGE_CHUNK, count: ids.length, end, regime },
      last: { range: RANGE_LAST, count: 1, end, regime },
    };
  }
}
