/**
 * What part of a round is drafting, by the layers it computes: a round is one submission, so the GPU tells no time of its
 * parts. A layer counts once a pass, however many rows the pass has; the head counts as the layers that have its weights.
 */

import type { ModelSpec, Round } from "../src/index.ts";

/** 0 to 1; each draft is a pass through the first layers and the head, and the check is one through all layers. */
export function draftShare(spec: ModelSpec, { drafted, exitLayer }: Pick<Round, "drafted" | "exitLayer">): number {
  const head = headInLayers(spec);
  const drafting = drafted * (exitLayer + head);
  return drafting / (drafting + spec.layers + head);
}

function headInLayers({ vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim }: ModelSpec): number {
  const attention = hiddenSize * headDim * 2 * (heads + kvHeads);
  return (vocabSize * hiddenSize) / (attention + 3 * hiddenSize * intermediateSize);
}
