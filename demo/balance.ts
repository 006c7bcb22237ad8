/** What a run gained and what it paid, in two plain sentences. */

import type { GenerationResult, Round } from "../src/index.ts";
import { element } from "./elements.ts";
import { count, counted } from "./format.ts";
import { chainedDrafts } from "./layer_work.ts";

export interface Balance {
  gained: string;
  paid: string;
}

/** Undefined where there was no round. The first token is the prefill's, so plain decoding takes one pass for each other. */
export function balance({ rounds, stats }: GenerationResult): Balance | undefined {
  if (rounds.length === 0) return undefined;
  const plainPasses = stats.tokens - 1;
  if (stats.drafted === 0) {
    return { gained: `nothing: ${counted(plainPasses, "full pass")}, one a token.`, paid: "nothing: no drafts." };
  }
  const saved = plainPasses - rounds.length;
  const thrownAway = count(stats.drafted - stats.accepted);
  const free = rounds.some((round) => chainedDrafts(round) > 0) ? "" : "; no layers drafted";
  return {
    gained: `${counted(rounds.length, "full pass")} instead of ${count(plainPasses)}, so ${count(saved)} fewer.`,
    paid: `${draftsBySource(rounds)}, ${thrownAway} of them thrown away${free}.`,
  };
}

/** "120 drafts by the first 2 layers and 45 from what followed before". */
function draftsBySource(rounds: readonly Round[]): string {
  const drafts = new Map<string, number>();
  const add = (source: string, more: number) => {
    if (more > 0) drafts.set(source, (drafts.get(source) ?? 0) + more);
  };
  const exits = rounds.filter((round) => chainedDrafts(round) > 0).map(({ exitLayer }) => exitLayer);
  const layers = firstLayers(Math.min(...exits), Math.max(...exits));
  for (const round of rounds) {
    add(layers, chainedDrafts(round));
    add(treeSource(round) ?? layers, round.drafted - chainedDrafts(round));
  }
  const parts = [...drafts].map(([source, made], i) => `${i === 0 ? counted(made, "draft") : count(made)} ${source}`);
  return parts.join(" and ");
}

/** Where the drafts come from that are no layers' chain; undefined: layers made them, too. */
function treeSource({ drafter }: Round): string | undefined {
  switch (drafter) {
    case "lookup":
      return "from the text";
    case "recycle":
    case "ouroboros":
      return "from what followed before";
    case "own":
      return "from elsewhere";
    default:
      return undefined;
  }
}

function firstLayers(least: number, most: number): string {
  if (most === 0) return "by another model";
  if (most === 1) return "by the first layer";
  return `by the first ${least === most ? most : `${least} to ${most}`} layers`;
}

export function showBalance(root: HTMLElement, found: Balance | undefined): void {
  root.hidden = !found;
  if (!found) return;
  root.replaceChildren(element("b", "", "Gained"), ` ${found.gained} `, element("b", "", "Paid"), ` ${found.paid}`);
}
