/**
 * The row table: which tokens at which positions a forward pass works on, and the ranges of rows of each of its passes.
 *
 * A round's rows are written by the plan kernel; the prompt's are written here.
 */

import type { Recorder } from "../gpu/commands.ts";
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
  /** The last row of the chunk, as it stands at the front of the table. */
  readonly #last: GPUBuffer;
  readonly #device: Device;

  constructor(device: Device) {
    this.#device = device;
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = BufferUsage;
    this.rows = device.ledger.allocate("activations", "rows", PROMPT_CAPACITY * ROW_BYTES, STORAGE | COPY_DST);
    this.#last = device.ledger.allocate("activations", "last row", ROW_BYTES, COPY_SRC | COPY_DST);
    const rangeBytes = RANGE_COUNT * RANGE_BYTES;
    this.ranges = device.ledger.allocate("activations", "row ranges", rangeBytes, STORAGE | UNIFORM | COPY_DST);
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
    queue.writeBuffer(this.rows, 0, encodeRows(chainOf(ids, start)));
    queue.writeBuffer(this.#last, 0, encodeRows(chainOf(ids.slice(-1), end - 1)));
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
