/** Rows and ranges as the shaders lay them out (shaders/rows/rows.wgsl). */

import { NONE, PAGE_SLOTS, RANGE_BYTES, ROW_BYTES } from "./constants.ts";

/** A row of the forward pass. */
export interface Row {
  token: number;
  position: number;
  /** Slot of the KV cache. */
  slot: number;
  /** Number of the row in flight that this one continues, or `NONE`. */
  parent: number;
}

/** Which rows a dispatch works on. Positions below `linear` stand where the text's pages say. */
export interface RowRange {
  first: number;
  count: number;
  linear: number;
}

/**
 * A run of tokens at positions `start`, `start + 1`, ...: each row continues the one before it.
 * @param slotOf where a position's keys and values stand; not given, in the slot of its number
 */
export function chainOf(
  ids: readonly number[],
  start: number,
  slotOf: (position: number) => number = (position) => position,
): Row[] {
  return ids.map((token, i) => {
    const position = start + i;
    return { token, position, slot: slotOf(position), parent: i === 0 ? NONE : i - 1 };
  });
}

/** A page table where position p stands in slot p, for contexts of `length` tokens. */
export function pagesInOrder(length: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: Math.ceil(length / PAGE_SLOTS) }, (_, i) => i);
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
