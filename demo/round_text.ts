/** The words of a round: what was drafted and what came of it. */

import type { Model, Round, TokenOrigin } from "../src/index.ts";
import { isChain, TEXT, ways } from "./draft_tree.ts";
import { counted, milliseconds, significant } from "./format.ts";
import { chainedDrafts } from "./layer_work.ts";
import { idleWords, isPlain, type Plan, planWords, sourceWords } from "./plan_words.ts";

/** What the page keeps of a round. */
export interface RoundRecord {
  /** From 1. */
  number: number;
  round: Round;
  draftIds: readonly number[];
  /** The number of the draft that each of them continues; -1: the text. */
  draftParents: readonly number[];
  /** What it emitted. */
  ids: readonly number[];
  /** The full model's own token. Absent where an accepted end of text closed the round. */
  own: { text: string; origin: TokenOrigin } | undefined;
  /** The last ids before the round, for decoding the drafts in their place. */
  idsBefore: readonly number[];
}

/** Enough ids before a token for its text to be what it is in the middle of a text. */
export const CONTEXT_TOKENS = 8;
const LONGEST_WORD = 12;

/**
 * The text each draft token would have added behind what it continues. Takes some decoding: for a round that is looked at, not
 * for every round.
 */
export function draftTexts(model: Model, { draftIds, draftParents, idsBefore }: RoundRecord): string[] {
  /** The ids up to each draft, and the length of their text. Parents stand before what continues them. */
  const ends: { ids: readonly number[]; shown: number }[] = [];
  const text = { ids: idsBefore, shown: model.decode(idsBefore).length };
  return draftIds.map((id, draft) => {
    const before = ends[draftParents[draft] ?? TEXT] ?? text;
    const ids = [...before.ids, id];
    const whole = model.decode(ids);
    ends.push({ ids, shown: whole.length });
    return whole.slice(before.shown);
  });
}

/** The last word before a round, with what is behind it. */
export function wordBefore(model: Model, { idsBefore }: RoundRecord): string {
  const [word = ""] = /\S*\s*$/.exec(model.decode(idsBefore)) ?? [];
  return [...word].slice(-LONGEST_WORD).join("");
}

/** A token's text with what cannot be seen made visible. */
export function visible(text: string): string {
  if (text === "") return "∅";
  const marked = text.replaceAll("\n", "↵");
  return marked.trim() === "" ? marked.replaceAll(" ", "␣") : marked;
}

/** "4 tokens from layer 2", "a tree of 15 from what followed before", "plain decoding". */
export function draftedWords({ round, draftIds, draftParents }: RoundRecord): string {
  if (draftIds.length === 0) return isPlain(round) ? "plain decoding" : idleWords(round);
  return planWords(carriedOut(round), !isChain(draftParents));
}

/** What a round did of its plan: there is less to draft at the end of a text, and where little is known. */
function carriedOut(round: Round): Plan {
  const draftLength = chainedDrafts(round);
  return { ...round, draftLength, treeSize: round.drafted - draftLength };
}

/** "3 of 4 accepted, then a correction". */
export function outcome({ draftIds, round, own }: RoundRecord): string {
  if (draftIds.length === 0) return "nothing drafted";
  return `${round.accepted} of ${draftIds.length} accepted${own ? `, then a ${own.origin}` : ""}`;
}

/** "3 tokens in 8.4 ms, 357 a second". */
export function yieldWords({ ids, round }: RoundRecord): string {
  const ms = roundMs(round);
  const speed = ms > 0 ? `, ${significant((ids.length * 1000) / ms)} a second` : "";
  return `${counted(ids.length, "token")} in ${milliseconds(ms)}${speed}`;
}

/** The round in one sentence, for a screen reader. */
export function sentence(record: RoundRecord, drafts: readonly string[]): string {
  const { own } = record;
  const drafted = drafts.length > 0 ? `drafted ${quotedDrafts(record, drafts)}; ` : "";
  const ownWords = own ? ` ${quoted(own.text)}` : "";
  return `Round ${record.number}: ${drafted}${outcome(record)}${ownWords}; ${yieldWords(record)}`;
}

/** A chain's tokens one by one; of a tree, the ways through it. */
function quotedDrafts(record: RoundRecord, drafts: readonly string[]): string {
  const { draftParents, round } = record;
  if (isChain(draftParents)) return `${drafts.map(quoted).join(", ")} ${sourceWords(carriedOut(round))}`;
  const texts = ways(draftParents).map((way) => quoted(way.map((draft) => drafts[draft]).join("")));
  return `${draftedWords(record)}: ${texts.join(", ")}`;
}

function quoted(text: string): string {
  return `“${visible(text).trim()}”`;
}

/** The same without the drafts' texts. */
export function shortSentence(record: RoundRecord): string {
  return `Round ${record.number}: ${outcome(record)}; ${yieldWords(record)}`;
}

export function roundMs({ startMs, endMs }: Pick<Round, "startMs" | "endMs">): number {
  return Math.max(0, endMs - startMs);
}
