/** What a run gained and what it paid, in two plain sentences. */

import type { GenerationResult } from "../src/index.ts";
import { element } from "./elements.ts";
import { count, counted } from "./format.ts";

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
  const exits = rounds.filter(({ drafted }) => drafted > 0).map(({ exitLayer }) => exitLayer);
  const layers = firstLayers(Math.min(...exits), Math.max(...exits));
  return {
    gained: `${counted(rounds.length, "full pass")} instead of ${count(plainPasses)}, so ${count(saved)} fewer.`,
    paid: `${counted(stats.drafted, "draft")} by ${layers}, ${count(stats.drafted - stats.accepted)} of them thrown away.`,
  };
}

function firstLayers(least: number, most: number): string {
  if (most === 1) return "the first layer";
  return `the first ${least === most ? most : `${least} to ${most}`} layers`;
}

export function showBalance(root: HTMLElement, found: Balance | undefined): void {
  root.hidden = !found;
  if (!found) return;
  root.replaceChildren(element("b", "", "Gained"), ` ${found.gained} `, element("b", "", "Paid"), ` ${found.paid}`);
}
