/** The words of a round: what was drafted and what came of it. */

import type { Model, TokenOrigin } from "../src/index.ts";

/** What the page keeps of a round. */
export interface RoundRecord {
  /** From 1. */
  number: number;
  draftIds: readonly number[];
  accepted: number;
  /** The full model's own token. Absent where an accepted end of text closed the round. */
  own: { text: string; origin: TokenOrigin } | undefined;
  /** The last ids before the round, for decoding the drafts in their place. */
  idsBefore: readonly number[];
}

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

/** "3 of 4 accepted, then a correction". */
export function outcome({ draftIds, accepted, own }: RoundRecord): string {
  if (draftIds.length === 0) return "nothing drafted";
  return `${accepted} of ${draftIds.length} accepted${own ? `, then a ${own.origin}` : ""}`;
}

/** The round in one sentence, for a screen reader. */
export function sentence(record: RoundRecord, drafts: readonly string[]): string {
  const { number, own } = record;
  const quoted = drafts.map((text) => `“${visible(text).trim()}”`);
  const drafted = quoted.length > 0 ? `drafted ${quoted.join(", ")}; ` : "";
  const ownWords = own ? ` “${visible(own.text).trim()}”` : "";
  return `Round ${number}: ${drafted}${outcome(record)}${ownWords}`;
}
