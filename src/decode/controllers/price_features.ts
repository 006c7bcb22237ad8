/**
 * What the time of a round is made of.
 *
 * t(E, d, n) = f + a * (d E + L + m) + b * (h + 1) + c * ((L - E) (R - 1) + E (T - 1)) + e * (R - 1): a layer for one row costs
 * a, the head b, each further row that verification computes c a layer and e in the head, and f is a round's own. h heads
 * choose drafts: d where layers draft, else none. R counts the rows of the verification, T those of the n rows of a tree and
 * the last draft, which catch up through the first E layers; both as the few-row kernels compute them: the bucket's, not the
 * plan's. m are the layers of a second model that drafts, in those of this one; what an exit adapter computes behind its layer counts as
 * layers too, and its head as a share of one.
 */

import { type DrafterKind, drafterOf } from "../plan.ts";

/** What a plan's time depends on. */
export interface PricedPlan {
  readonly drafter?: DrafterKind;
  readonly exitLayer: number;
  readonly draftLength: number;
  readonly treeSize?: number;
}

export interface PriceShape {
  readonly layers: number;
  /** The head (norm, vocabulary matrix, choice) in layers of one row. */
  readonly headLayers: number;
  /** Rows that one few-row kernel computes, ascending. */
  readonly buckets: readonly number[];
  /** A step of the second model that drafts, in layers of one row. Default: 0. */
  readonly draftModelLayers?: number;
  /** What the exit adapter computes of a draft, in layers of one row, and its head's share of the whole one. Default: 0 and 1. */
  readonly exitAdapter?: { readonly layers: number; readonly head: number };
}

/** What the head costs in layers, by weights: a row reads each of them once. */
export function headInLayers(head: { vocabSize: number; hiddenSize: number; layerWeights: number }): number {
  return (head.vocabSize * head.hiddenSize) / head.layerWeights;
}

/** Rows computed for `count` rows: the smallest bucket that holds them, or slabs of the largest. */
export function rowsComputed(count: number, buckets: readonly number[]): number {
  const largest = buckets[buckets.length - 1]!;
  return buckets.find((bucket) => bucket >= count) ?? Math.ceil(count / largest) * largest;
}

/** How often a plan pays f, a, b, c and e. */
export function priceFeatures(plan: PricedPlan, shape: PriceShape): number[] {
  const { layers, buckets, draftModelLayers = 0, exitAdapter = { layers: 0, head: 1 } } = shape;
  const { exitLayer, draftLength, treeSize = 0 } = plan;
  const furtherRows = rowsComputed(1 + draftLength + treeSize, buckets) - 1;
  const furtherEarlyRows = rowsComputed(1 + treeSize, buckets) - 1;
  const isModel = plan.drafter === "model";
  const isAdapter = plan.drafter === "adapter";
  const otherLayers =
    (isModel ? (draftLength + 1) * draftModelLayers : 0) + (isAdapter ? draftLength * exitAdapter.layers : 0);
  return [
    1,
    draftLength * exitLayer + layers + otherLayers,
    1 + (isModel ? 0 : draftLength * (isAdapter ? exitAdapter.head : 1)),
    (layers - exitLayer) * furtherRows + exitLayer * furtherEarlyRows,
    furtherRows,
  ];
}

/** What tells plans apart. */
export function planKey(plan: PricedPlan): string {
  const { exitLayer, draftLength, treeSize = 0 } = plan;
  return `${drafterOf(plan)}/${exitLayer}/${draftLength}/${treeSize}`;
}
