/**
 * What prompt lookup would propose next and how likely it is right, told without a round: the host has the text too, and can look
 * up what the GPU would, for every token that comes. So the governor knows when the text repeats itself before it pays for a
 * try. Ours.
 */

import { LONGEST_MATCH } from "../../kernels/constants.ts";
import { expectedTokens } from "./expected_tokens.ts";

/** Matches of so many tokens at least are told apart. */
const CLASSES = [1, 2, 3, 5, 9] as const;
/** What a token counts against the next of its class: about 50 are remembered. */
const DISCOUNT = 0.98;
/** Tokens that the guess m / (m + 1) is worth. */
const PRIOR = 4;

interface Seen {
  right: number;
  wrong: number;
}

export class LookupForecast {
  readonly #ids: number[] = [];
  /** Where each id stands, ascending. */
  readonly #places = new Map<number, number[]>();
  readonly #seen: Seen[] = CLASSES.map(() => ({ right: 0, wrong: 0 }));
  /** The best match of the text's end. */
  #match = { length: 0, place: -1 };

  /** The text goes on with `ids`; at first with the prompt. */
  tell(ids: readonly number[]): void {
    for (const id of ids) {
      const { length, place } = this.#match;
      if (length > 0) this.#learn(length, this.#ids[place + 1] === id);
      this.#ids.push(id);
      this.#match = this.#search(place, id);
      const places = this.#places.get(id);
      if (places) places.push(this.#ids.length - 1);
      else this.#places.set(id, [this.#ids.length - 1]);
    }
  }

  /** How many of the text's last tokens stood together before. */
  get matched(): number {
    return this.#match.length;
  }

  /** Tokens that a round of `drafts` rows may be expected to emit, the full model's own among them. */
  tokens(drafts: number): number {
    const { length } = this.#match;
    return length === 0 ? 1 : expectedTokens(this.#rightOf(length), drafts);
  }

  #rightOf(length: number): number {
    const { right, wrong } = this.#seen[classOf(length)]!;
    return (right + (PRIOR * length) / (length + 1)) / (right + wrong + PRIOR);
  }

  #learn(length: number, isRight: boolean): void {
    const seen = this.#seen[classOf(length)]!;
    seen.right = seen.right * DISCOUNT + (isRight ? 1 : 0);
    seen.wrong = seen.wrong * DISCOUNT + (isRight ? 0 : 1);
  }

  /** The longest match of the text's end, of equal ones the latest, as shaders/drafting/lookup.wgsl finds it, but for places long ago. */
  #search(before: number, last: number): { length: number; place: number } {
    const end = this.#ids.length - 1;
    let best = { length: 0, place: -1 };
    // A match that goes on is tried first: most others end at once.
    const places = this.#places.get(last) ?? [];
    const candidates = before >= 0 && this.#ids[before + 1] === last && before + 1 < end ? [before + 1] : [];
    for (const place of [...candidates, ...places.slice(-MOST_PLACES)]) {
      let length = 0;
      while (length < LONGEST_MATCH && length <= place && this.#ids[place - length] === this.#ids[end - length])
        length++;
      if (length > best.length || (length === best.length && place > best.place)) best = { length, place };
    }
    return best;
  }
}

/** Places of an id that are looked at: the latest. A comma stands everywhere. */
const MOST_PLACES = 64;

function classOf(length: number): number {
  return CLASSES.findLastIndex((least) => length >= least);
}
