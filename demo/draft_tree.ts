/**
 * A round's drafts as a tree: which of them continue which, and which became text. A draft is known by its number; -1 is the
 * text before the round, on which the tree grows.
 */

import type { GenerationPart } from "../src/index.ts";

export const TEXT = -1;

/** The part of a round that tells. */
type Drafts = Pick<GenerationPart, "draftIds" | "ids">;

/** Whether each draft continues the one before it. */
export function isChain(parents: readonly number[]): boolean {
  return parents.every((parent, draft) => parent === draft - 1);
}

/** The drafts that continue one, in their order. */
export function continuing(parents: readonly number[], parent: number): number[] {
  return parents.flatMap((each, draft) => (each === parent ? [draft] : []));
}

/** The drafts that were accepted: from the text on, those that are what the round emitted. */
export function acceptedPath(
  { draftIds, ids }: { [K in keyof Drafts]: readonly number[] },
  parents: readonly number[],
  accepted: number,
): number[] {
  const path: number[] = [];
  for (const id of ids.slice(0, accepted)) {
    const next = continuing(parents, path.at(-1) ?? TEXT).find((draft) => draftIds[draft] === id);
    if (next === undefined) break;
    path.push(next);
  }
  return path;
}

/** The ways through the tree, each from the text to a draft that nothing continues. */
export function ways(parents: readonly number[]): number[][] {
  const leaves = parents.flatMap((_, draft) => (parents.includes(draft) ? [] : [draft]));
  return leaves.map((leaf) => {
    const way: number[] = [];
    for (let at = leaf; at !== TEXT; at = parents[at] ?? TEXT) way.unshift(at);
    return way;
  });
}
