/**
 * What part of a round is drafting, by the layers it computes: a round is one submission, so the GPU tells no time of its
 * parts. A layer counts once a pass, however many rows the pass has; the head counts as the layers that have its weights.
 */

import type { ModelSpec, Round } from "../src/index.ts";

/** Drafts that were made one after the other, each in a pass of its own; those of a tree on top of them cost no pass. */
export function chainedDrafts({ drafted, draftLength }: Pick<Round, "drafted" | "draftLength">): number {
  return Math.min(drafted, draftLength);
}

/**
 * 0 to 1; each draft by layers is a pass through the first layers and the head, and the check is one through all layers. 0
 * where no layers draft.
 */
export function draftShare(spec: ModelSpec, round: Pick<Round, "drafted" | "draftLength" | "exitLayer">): number {
  const head = headInLayers(spec);
  const drafting = round.exitLayer > 0 ? chainedDrafts(round) * (round.exitLayer + head) : 0;
  return drafting / (drafting + spec.layers + head);
}

function headInLayers({ vocabSize, hiddenSize, intermediateSize, heads, kvHeads, headDim }: ModelSpec): number {
  const attention = hiddenSize * headDim * 2 * (heads + kvHeads);
  return (vocabSize * hiddenSize) / (attention + 3 * hiddenSize * intermediateSize);
}
