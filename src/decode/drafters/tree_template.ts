/**
 * The shape of a tree of followers: the nodes that are likeliest to be right, as many as there are to be.
 *
 * How likely a token's follower of each rank is right is taken to be the same everywhere, so a node's probability is the product
 * along its path, and the best tree of n nodes is the n likeliest (a parent is never less likely than its children). The
 * paper's tree is one fixed template of 80 nodes; ours is made for any number.
 */

import { FOLLOWERS } from "../../kernels/constants.ts";
import type { TemplateNode } from "../../kernels/drafting.ts";

/** How often a follower of each rank is taken to be right. A guess: what counts is how fast it falls. */
const RIGHT = [0.42, 0.12, 0.065, 0.045, 0.033, 0.025, 0.02, 0.016];

/** @returns `size` nodes, level by level, likelier ones first */
export function treeTemplate(size: number): TemplateNode[] {
  const chosen: (TemplateNode & { probability: number })[] = [];
  /** Nodes that may be next: the next follower of each chosen node, and of the row. */
  const open: { parent: number; rank: number; depth: number; probability: number }[] = [];
  const offer = (parent: number, rank: number, depth: number, above: number) => {
    if (rank < FOLLOWERS) open.push({ parent, rank, depth, probability: above * RIGHT[rank]! });
  };
  offer(-1, 0, 1, 1);
  while (chosen.length < size && open.length > 0) {
    const best = open.reduce((a, b) => (b.probability > a.probability ? b : a));
    open.splice(open.indexOf(best), 1);
    const node = chosen.push(best) - 1;
    offer(best.parent, best.rank + 1, best.depth, best.probability / RIGHT[best.rank]!);
    offer(node, 0, best.depth + 1, best.probability);
  }
  return byLevel(chosen);
}

/** The same tree with its nodes by depth; within a level they keep their order. */
function byLevel(nodes: readonly TemplateNode[]): TemplateNode[] {
  const order = nodes.map((_, i) => i).sort((a, b) => nodes[a]!.depth - nodes[b]!.depth || a - b);
  const places = new Map(order.map((node, place) => [node, place]));
  return order.map((node) => {
    const { parent, rank, depth } = nodes[node]!;
    return { parent: parent < 0 ? -1 : places.get(parent)!, rank, depth };
  });
}
