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
  /** The lane of its text. Default: 0. */
  lane?: number;
  /** Positions below this stand where the text's pages say, those at or past it where its ancestors are. Default: 0. */
  linear?: number;
  /** Number of the row that continues it in a chain of drafts. Default: `NONE`. */
  child?: number;
}

/** Which rows a dispatch works on. */
export interface RowRange {
  first: number;
  count: number;
}

/** Where a chain of rows stands. */
export interface ChainPlace {
  /** Where a position's keys and values stand. Default: in the slot of its number. */
  slotOf?: (position: number) => number;
  /** Positions below this stand where the text's pages say. Default: all of the chain's. */
  linear?: number;
  lane?: number;
}

/** A run of tokens at positions `start`, `start + 1`, ...: each row continues the one before it. */
export function chainOf(
  ids: readonly number[],
  start: number,
  { slotOf = (position) => position, linear = start + ids.length, lane = 0 }: ChainPlace = {},
): Row[] {
  return ids.map((token, i) => ({
    ...{ token, position: start + i, slot: slotOf(start + i), lane, linear },
    parent: i === 0 ? NONE : i - 1,
    child: i + 1 < ids.length ? i + 1 : NONE,
  }));
}

/** A page table where position p stands in slot p, for contexts of `length` tokens. */
export function pagesInOrder(length: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from({ length: Math.ceil(length / PAGE_SLOTS) }, (_, i) => i);
}

/** `[rows]` of `Row`. */
export function encodeRows(rows: readonly Row[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((rows.length * ROW_BYTES) / 4);
  for (const [i, row] of rows.entries()) {
    const { token, position, slot, parent, lane = 0, linear = 0, child = NONE } = row;
    words.set([token, position, slot, parent, lane, linear, child], (i * ROW_BYTES) / 4);
  }
  return words;
}

/** `[ranges]` of `RowRange`. */
export function encodeRanges(ranges: readonly RowRange[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((ranges.length * RANGE_BYTES) / 4);
  for (const [i, range] of ranges.entries()) {
    words.set([range.first, range.count], (i * RANGE_BYTES) / 4);
  }
  return words;
}
