/**
 * What the time of a round is made of.
 *
 * t(E, d) = f + a * (d E + L) + b * (d + 1) + c * (L - E) (R - 1) + e * (R - 1): a layer for one row costs a, the head b, each
 * further row that verification computes c a layer and e in the head, and f is a round's own. R counts rows as the few-row
 * kernels compute them: the bucket's, not the plan's.
 */

/** What a plan's time depends on. */
export interface PricedPlan {
  readonly exitLayer: number;
  readonly draftLength: number;
}

export interface PriceShape {
  readonly layers: number;
  /** The head (norm, vocabulary matrix, choice) in layers of one row. */
  readonly headLayers: number;
  /** Rows that one few-row kernel computes, ascending. */
  readonly buckets: readonly number[];
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
export function priceFeatures({ exitLayer, draftLength }: PricedPlan, { layers, buckets }: PriceShape): number[] {
  const furtherRows = rowsComputed(draftLength + 1, buckets) - 1;
  return [1, draftLength * exitLayer + layers, draftLength + 1, (layers - exitLayer) * furtherRows, furtherRows];
}
