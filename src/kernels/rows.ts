/** Rows and ranges as the shaders lay them out (shaders/rows/rows.wgsl). */

import { NONE, RANGE_BYTES, ROW_BYTES } from "./constants.ts";

/** A row of the forward pass. */
export interface Row {
  token: number;
  position: number;
  /** Slot of the KV cache. */
  slot: number;
  /** Number of the row in flight that this one continues, or `NONE`. */
  parent: number;
}

/** Which rows a dispatch works on. Positions below `linear` stand in the slot of the same number. */
export interface RowRange {
  first: number;
  count: number;
  linear: number;
}

/** A run of tokens at positions `start`, `start + 1`, ...: each row continues the one before it. */
export function chainOf(ids: readonly number[], start: number): Row[] {
  return ids.map((token, i) => ({ token, position: start + i, slot: start + i, parent: i === 0 ? NONE : i - 1 }));
}

/** `[rows]` of `Row`. */
export function encodeRows(rows: readonly Row[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((rows.length * ROW_BYTES) / 4);
  for (const [i, row] of rows.entries()) {
    words.set([row.token, row.position, row.slot, row.parent], (i * ROW_BYTES) / 4);
  }
  return words;
}

/** `[ranges]` of `RowRange`. */
export function encodeRanges(ranges: readonly RowRange[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((ranges.length * RANGE_BYTES) / 4);
  for (const [i, range] of ranges.entries()) {
    words.set([range.first, range.count, range.linear], (i * RANGE_BYTES) / 4);
  }
  return words;
}
