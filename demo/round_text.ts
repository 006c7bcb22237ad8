/** The words of a round: what was planned, what was drafted and what came of it. */

import type { Model, Round, TokenOrigin } from "../src/index.ts";
import { counted, milliseconds, significant } from "./format.ts";

/** What the page keeps of a round. */
export interface RoundRecord {
  /** From 1. */
  number: number;
  round: Round;
  draftIds: readonly number[];
  /** How many tokens it emitted. */
  tokens: number;
  /** The full model's own token. Absent where an accepted end of text closed the round. */
  own: { text: string; origin: TokenOrigin } | undefined;
  /** The last ids before the round, for decoding the drafts in their place. */
  idsBefore: readonly number[];
}

/** What a round was asked to do, and what is compared with that. */
export type Plan = Pick<Round, "exitLayer" | "draftLength">;

/** Enough ids before a token for its text to be what it is in the middle of a text. */
export const CONTEXT_TOKENS = 8;

/** The text each draft token would have added. Takes some decoding: for a round that is looked at, not for every round. */
export function draftTexts(model: Model, { draftIds, idsBefore }: RoundRecord): string[] {
  const ids = [...idsBefore];
  let shown = model.decode(ids).length;
  return draftIds.map((id) => {
    ids.push(id);
    const text = model.decode(ids);
    const added = text.slice(shown);
    shown = text.length;
    return added;
  });
}

/** A token's text with what cannot be seen made visible. */
export function visible(text: string): string {
  if (text === "") return "∅";
  const marked = text.replaceAll("\n", "↵");
  return marked.trim() === "" ? marked.replaceAll(" ", "␣") : marked;
}

/** "3 tokens from layer 2". */
export function planWords({ exitLayer, draftLength }: Plan): string {
  return draftLength === 0 ? "plain decoding" : `${counted(draftLength, "token")} from layer ${exitLayer}`;
}

/** "3 of 4 accepted, then a correction". */
export function outcome({ draftIds, round, own }: RoundRecord): string {
  if (draftIds.length === 0) return "nothing drafted";
  return `${round.accepted} of ${draftIds.length} accepted${own ? `, then a ${own.origin}` : ""}`;
}

/** "3 tokens in 8.4 ms, 357 a second". */
export function yieldWords({ tokens, round }: RoundRecord): string {
  const ms = roundMs(round);
  const speed = ms > 0 ? `, ${significant((tokens * 1000) / ms)} a second` : "";
  return `${counted(tokens, "token")} in ${milliseconds(ms)}${speed}`;
}

/** The round in one sentence, for a screen reader. */
export function sentence(record: RoundRecord, drafts: readonly string[]): string {
  const { own, round } = record;
  const quoted = drafts.map((text) => `“${visible(text).trim()}”`);
  const drafted = quoted.length > 0 ? `drafted ${quoted.join(", ")} from layer ${round.exitLayer}; ` : "";
  const ownWords = own ? ` “${visible(own.text).trim()}”` : "";
  return `Round ${record.number}: ${drafted}${outcome(record)}${ownWords}; ${yieldWords(record)}`;
}

/** The same without the drafts' texts. */
export function shortSentence(record: RoundRecord): string {
  return `Round ${record.number}: ${outcome(record)}; ${yieldWords(record)}`;
}

export function roundMs({ startMs, endMs }: Pick<Round, "startMs" | "endMs">): number {
  return Math.max(0, endMs - startMs);
}
