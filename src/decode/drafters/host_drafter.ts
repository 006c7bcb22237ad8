/**
 * A drafter on the host: yours, for instance. It is asked for each round, when the round before it has been read, and answers
 * with a tree of tokens.
 *
 * Nothing it proposes can change the text. What can be no row (an id outside the vocabulary, a parent that is none, more
 * nodes or longer paths than fit) is left out.
 */

import { InputError } from "../../errors.ts";
import type { Recorder } from "../../gpu/commands.ts";
import { encodeProposal, type ProposedNode } from "../../kernels/drafting.ts";
import type { DraftingKit, DraftRound, GpuDrafter } from "./drafter.ts";

/** What a drafter is told when it is asked. */
export interface DraftContext {
  /**
   * The text so far, prompt included, and at least one id behind that. The last one is the one that the drafts continue. The
   * array is the library's own and goes on growing: copy what is to be kept.
   */
  readonly ids: readonly number[];
  /** How many of them are the prompt's. */
  readonly promptLength: number;
  /** Nodes that this round takes at most; fewer near the text's end, where the surplus is left out. */
  readonly treeSize: number;
  readonly vocabSize: number;
}

/** A node of a draft tree. */
export interface DraftNode {
  readonly id: number;
  /** The number in the tree of the node that it continues, which stands before it; -1: the text. */
  readonly parent: number;
}

/** A chain of ids, each continuing the one before it, or a tree. */
export type DraftTree = readonly number[] | readonly DraftNode[];

/** What became of a round's drafts. */
export interface DraftOutcome {
  /** The rows that were verified: the tree, numbered anew where something was left out or merged. */
  readonly drafts: readonly DraftNode[];
  /** The numbers in `drafts` of those that were accepted, in order. */
  readonly accepted: readonly number[];
  /** All that the round added to the text: what was accepted and one id of the full model's own. */
  readonly ids: readonly number[];
}

export interface HostDrafter {
  /** What it is called in errors; statistics call it `own`. */
  readonly name: string;
  /** Nodes a round at most, 1 to 63. Default: 7: with the text's last token, what one pass over the weights verifies. */
  readonly treeSize?: number;
  /** What may come next. An empty tree is a plain step. What it throws ends the generation with it. */
  propose(context: DraftContext): DraftTree | Promise<DraftTree>;
  /** Told of each round of its own, also of one that it proposed nothing for. What it throws ends the generation with it. */
  observe?(outcome: DraftOutcome): void | Promise<void>;
}

/** Nodes a round of a drafter that does not say. */
export const HOST_TREE_SIZE = 7;

/** Makes rows of what the host proposed. */
export class ProposalDrafter implements GpuDrafter {
  readonly #kit: DraftingKit;

  constructor(kit: DraftingKit) {
    this.#kit = kit;
  }

  async prepare(): Promise<void> {} // trees are prepared by the plan

  /**
   * For the next submission.
   * @throws InputError for what is no list
   */
  write(tree: DraftTree): void {
    if (!Array.isArray(tree)) {
      const expected = "a list of ids or of nodes; an empty one for no idea";
      throw new InputError({ file: "generate", field: "drafter.propose", found: String(tree), expected });
    }
    const words = encodeProposal(nodesOf(tree));
    this.#kit.device.handle.queue.writeBuffer(this.#kit.state.proposal, 0, words);
  }

  draft(recorder: Recorder, { lane }: DraftRound): void {
    this.#kit.state.graft(recorder, lane);
  }
}

function nodesOf(tree: DraftTree): ProposedNode[] {
  return tree.map((node, i) => (typeof node === "number" ? { token: node, parent: i - 1 } : nodeOf(node)));
}

function nodeOf({ id: token, parent }: DraftNode): ProposedNode {
  return { token, parent };
}
