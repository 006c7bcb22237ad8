/** Page tables whose pages are in no order: what takes a position for a slot fails. */

import { PAGE_SLOTS } from "../../src/kernels/constants.ts";
import type { Random } from "../reference/random.ts";

/** Where position `position` stands. */
export function slotIn(pages: ArrayLike<number>, position: number): number {
  return pages[Math.floor(position / PAGE_SLOTS)]! * PAGE_SLOTS + (position % PAGE_SLOTS);
}

/** Pages for `positions` positions, the last one first. */
export function reversedPages(positions: number): Uint32Array<ArrayBuffer> {
  const count = Math.ceil(positions / PAGE_SLOTS);
  return Uint32Array.from({ length: count }, (_, i) => count - 1 - i);
}

/** Pages for `positions` positions out of a few more. */
export function randomPages(random: Random, positions: number): Uint32Array<ArrayBuffer> {
  const count = Math.ceil(positions / PAGE_SLOTS);
  const all = Array.from({ length: count + random.int(0, 2) }, (_, i) => i);
  const taken: number[] = [];
  while (taken.length < count) taken.push(...all.splice(random.int(0, all.length - 1), 1));
  return Uint32Array.from(taken);
}
