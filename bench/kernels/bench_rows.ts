/** Rows that kernels are measured with: a run of tokens at consecutive positions, and a range for each number of them. */

import type { Device } from "../../src/gpu/device.ts";
import { BufferUsage } from "../../src/gpu/usage.ts";
import type { RowSet } from "../../src/kernels/kernel.ts";
import { chainOf, encodeRanges, encodeRows, pagesInOrder } from "../../src/kernels/rows.ts";

const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;

export class BenchRows {
  readonly rows: GPUBuffer;
  readonly ranges: GPUBuffer;
  readonly pages: GPUBuffer;
  readonly #start: number;
  readonly #counts: readonly number[];

  /**
   * @param start position of the first row
   * @param counts numbers of rows that kernels are measured with
   */
  constructor(device: Device, vocabSize: number, start: number, counts: readonly number[]) {
    this.#start = start;
    this.#counts = counts;
    const ids = Array.from({ length: Math.max(...counts) }, (_, i) => (i * 7919) % vocabSize);
    const rows = encodeRows(chainOf(ids, start));
    // A round writes its rows' slots before attention reads them: all that they see is linear.
    const ranges = encodeRanges(counts.map((count) => ({ first: 0, count })));
    const { ledger, handle } = device;
    this.rows = ledger.allocate("rows", `rows at ${start}`, rows.byteLength, STORAGE | COPY_DST);
    this.ranges = ledger.allocate("rows", `ranges at ${start}`, ranges.byteLength, UNIFORM | STORAGE | COPY_DST);
    const pages = pagesInOrder(start + Math.max(...counts));
    this.pages = ledger.allocate("rows", `pages at ${start}`, pages.byteLength, STORAGE | COPY_DST);
    handle.queue.writeBuffer(this.pages, 0, pages);
    handle.queue.writeBuffer(this.rows, 0, rows);
    handle.queue.writeBuffer(this.ranges, 0, ranges);
  }

  /** @throws RangeError for a number of rows that was not announced */
  of(count: number): RowSet {
    const range = this.#counts.indexOf(count);
    if (range < 0) throw new RangeError(`${count} rows were not announced`);
    return { range, count, end: this.#start + count };
  }
}
