/**
 * Ends a text before a stop string, which may begin in one token and end in another.
 *
 * Text that may still become a stop string is held back, and no more than that; the rest is shown at once. The search is that
 * of Knuth, Morris and Pratt 1977, so a character costs the same however long the text is. It goes by UTF-16 code units.
 */

import { InputError } from "../errors.ts";

/** What a piece of text brings. */
export interface StopStringStep {
  /** Text to show now, of this piece and of what was held back before. */
  text: string;
  /** A stop string is complete: this piece is the last, and what follows in it is dropped. */
  stopped: boolean;
}

/** One stop string, and how far the text so far has got in it. */
interface Matcher {
  readonly stop: string;
  /** Of `bordersOf`. */
  readonly borders: readonly number[];
  /** Length of the longest prefix of the stop string that the text ends in. */
  matched: number;
}

export class StopStrings {
  readonly #matchers: readonly Matcher[];
  /** The end of the text, not shown yet: the longest prefix of a stop string that the text ends in. */
  #held = "";
  #stopped = false;

  /**
   * @param where the function whose option it is, for the error
   * @throws InputError when a stop string is empty
   */
  constructor(stops: readonly string[], where = "generate") {
    this.#matchers = stops.map((stop, i) => {
      if (typeof stop !== "string" || stop === "") {
        const found = typeof stop === "string" ? "an empty string" : String(stop);
        throw new InputError({
          file: where,
          field: `stop[${i}]`,
          found,
          expected: "a string of at least one character",
        });
      }
      return { stop, borders: bordersOf(stop), matched: 0 };
    });
  }

  /**
   * Takes the text of one token. Where it completes stop strings, the text ends before the one that begins first. After
   * that nothing is shown any more.
   */
  push(piece: string): StopStringStep {
    if (this.#stopped) return { text: "", stopped: true };
    const text = this.#held + piece;
    let end = Infinity;
    let held = 0;
    for (const matcher of this.#matchers) {
      end = Math.min(end, this.#held.length + advance(matcher, piece));
      held = Math.max(held, matcher.matched);
    }
    this.#stopped = end !== Infinity;
    if (!this.#stopped) end = text.length - held;
    this.#held = this.#stopped ? "" : text.slice(end);
    return { text: text.slice(0, end), stopped: this.#stopped };
  }

  /** What was held back. Call it when the last token was pushed. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    for (const matcher of this.#matchers) matcher.matched = 0;
    return text;
  }
}

/** Reads on. Where the stop string is completed: its place, from the piece's start (negative before it); else Infinity. */
function advance(matcher: Matcher, piece: string): number {
  const { stop, borders } = matcher;
  let { matched } = matcher;
  for (let i = 0; i < piece.length; i++) {
    while (matched > 0 && piece[i] !== stop[matched]) matched = borders[matched]!;
    if (piece[i] === stop[matched]) matched++;
    if (matched === stop.length) return i + 1 - stop.length;
  }
  matcher.matched = matched;
  return Infinity;
}

/** For the prefix of each length: the length of the longest shorter prefix that it ends in. */
function bordersOf(stop: string): number[] {
  const borders = [0, 0];
  for (let length = 1; length < stop.length; length++) {
    let border = borders[length]!;
    while (border > 0 && stop[length] !== stop[border]) border = borders[border]!;
    borders.push(stop[length] === stop[border] ? border + 1 : 0);
  }
  return borders;
}
