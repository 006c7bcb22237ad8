/** Where the elements of a head lie: in the checkpoint's order and in the engine's, in which a pair is half a head apart. */

import type { HeadOrder } from "./spec.ts";

/**
 * The place in a head of the engine's order of element `element` of the checkpoint's.
 *
 * The rotated pairs come first in both halves, then the elements that are not rotated. Queries and keys are ordered alike, so
 * their products stay what they are.
 */
export function headPlace({ headDim, rotaryDim, interleaved }: HeadOrder, element: number): number {
  const half = headDim / 2;
  if (element >= rotaryDim) {
    const rest = element - rotaryDim;
    const inFirst = (headDim - rotaryDim) / 2;
    return rest < inFirst ? rotaryDim / 2 + rest : half + rotaryDim / 2 + rest - inFirst;
  }
  const pairs = rotaryDim / 2;
  const [pair, part] = interleaved ? [element >> 1, element & 1] : [element % pairs, Math.floor(element / pairs)];
  return part * half + pair;
}

/** A vector of whole heads in the engine's order. */
export function inHeadOrder(vector: Float32Array<ArrayBuffer>, order: HeadOrder): Float32Array<ArrayBuffer> {
  const { headDim } = order;
  const ordered = new Float32Array(vector.length);
  for (const [i, value] of vector.entries()) {
    ordered[i - (i % headDim) + headPlace(order, i % headDim)] = value;
  }
  return ordered;
}
