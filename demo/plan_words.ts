/** What a round was asked to draft, and what it drafted, in words: how much, and who from where. */

import type { Round } from "../src/index.ts";
import { counted } from "./format.ts";

/** A round's plan, or one that is compared with it: those that tell no drafter draft by layers. */
export type Plan = Pick<Round, "exitLayer" | "draftLength"> & Partial<Pick<Round, "drafter" | "treeSize">>;

export function isPlain({ draftLength, treeSize = 0 }: Plan): boolean {
  return draftLength + treeSize === 0;
}

export function isPlan(a: Plan, b: Plan): boolean {
  return (
    drafterOf(a) === drafterOf(b) &&
    a.exitLayer === b.exitLayer &&
    a.draftLength === b.draftLength &&
    (a.treeSize ?? 0) === (b.treeSize ?? 0)
  );
}

/**
 * "3 tokens from layer 2", "a tree of 7 from the text".
 * @param branching whether the drafts of its tree stand side by side; else they are one behind the other
 */
export function planWords(plan: Plan, branching = true): string {
  const { draftLength, treeSize = 0 } = plan;
  const chain = `${counted(draftLength, "token")} ${chainSource(plan)}`;
  const tree = branching && treeSize > 1 ? `a tree of ${treeSize}` : counted(treeSize, "token");
  const drafter = drafterOf(plan);
  if (drafter === "none") return "plain decoding";
  if (draftLength === 0) return `${tree} ${sourceWords(plan)}`;
  if (treeSize === 0) return chain;
  return drafter === "layerskip" || drafter === "adapter"
    ? `${chain}, and ${treeSize} beside them`
    : `${chain}, then ${tree}`;
}

/** Where the drafts come from: "from layer 2", "from the text". */
export function sourceWords(plan: Plan): string {
  const { treeSize = 0 } = plan;
  switch (drafterOf(plan)) {
    case "lookup":
      return "from the text";
    case "recycle":
      return "from what followed before";
    case "ouroboros":
      return `${chainSource(plan)}${treeSize > 0 ? " and what followed before" : ""}`;
    case "own":
      return "from elsewhere";
    default:
      return chainSource(plan);
  }
}

function chainSource({ exitLayer, drafter }: Plan): string {
  if (drafter === "adapter") return `from layer ${exitLayer} and its adapter`;
  return exitLayer > 0 ? `from layer ${exitLayer}` : "from another model";
}

/** Why a round that was to draft has not. */
export function idleWords(plan: Plan): string {
  switch (drafterOf(plan)) {
    case "lookup":
      return "nothing like it stood in the text before";
    case "recycle":
      return "nothing is known to follow";
    default:
      return "nothing was left to draft";
  }
}

/** In a table: "3 from layer 2", "7 from the text". */
export function planLabel(plan: Plan): string {
  const { draftLength, treeSize = 0 } = plan;
  if (isPlain(plan)) return "plain";
  if (draftLength === 0) return `${treeSize} ${drafterOf(plan) === "recycle" ? "recycled" : sourceWords(plan)}`;
  return `${draftLength} ${chainSource(plan)}${treeSize > 0 ? ` and ${treeSize}` : ""}`;
}

function drafterOf(plan: Plan): Round["drafter"] {
  return isPlain(plan) ? "none" : (plan.drafter ?? "layerskip");
}
