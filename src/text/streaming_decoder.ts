/**
 * Turns token ids into text one by one, so that the parts joined continue the prompt exactly: what is shown is the text of
 * prompt and new ids together less the prompt's. A token decoded alone would not do: sentencepiece drops the space before the
 * first word of a text, and a character may take several byte tokens.
 *
 * Only a window of the last tokens is decoded, so a token costs the same however long the text is. The idea of the two offsets is
 * that of text-generation-inference (`decode_token`, server/text_generation_server/models/model.py); here a special token takes
 * no place in the window, and only the last character is held back, which bounds the window also where no valid text comes.
 */

import type { TextTokenizer } from "./tokenizer.ts";

/**
 * Visible tokens kept in front of what is not shown yet. One is enough for a decoder to know that it is not at the start of
 * a text; four hold the longest character (4 bytes) that may be on its way.
 */
const CONTEXT_TOKENS = 8;
/** The window is cut back to the context when it has grown to this. */
const WINDOW_TOKENS = 4 * CONTEXT_TOKENS;

/** Stands for bytes that are not UTF-8, of which a character begun but not finished is one case. */
const REPLACEMENT = "\uFFFD";

export class StreamingDecoder {
  readonly #tokenizer: TextTokenizer;
  /** The last visible tokens. */
  #window: number[];
  /** How much of the window's text was given out or belongs to the prompt, in UTF-16 units. */
  #shown: number;

  /** @param promptIds the ids that the text continues */
  constructor(tokenizer: TextTokenizer, promptIds: readonly number[]) {
    this.#tokenizer = tokenizer;
    this.#window = lastVisible(tokenizer, promptIds, CONTEXT_TOKENS);
    this.#shown = settled(tokenizer.decode(this.#window)).length;
  }

  /** The text that `id` adds: empty for a special token and while a character is not complete. */
  push(id: number): string {
    if (!this.#tokenizer.isVisible(id)) return "";
    this.#window.push(id);
    const text = this.#tokenizer.decode(this.#window);
    const added = this.#show(settled(text));
    if (this.#window.length >= WINDOW_TOKENS) {
      const pending = text.length - this.#shown;
      this.#window = this.#window.slice(-CONTEXT_TOKENS);
      this.#shown = this.#tokenizer.decode(this.#window).length - pending;
    }
    return added;
  }

  /** What was held back: U+FFFD for a character that was never finished. Call it when the last token was pushed. */
  flush(): string {
    return this.#show(this.#tokenizer.decode(this.#window));
  }

  #show(text: string): string {
    const added = text.slice(this.#shown);
    this.#shown = Math.max(this.#shown, text.length);
    return added;
  }
}

/** The last `count` ids that show in text, or all there are. */
function lastVisible(tokenizer: TextTokenizer, ids: readonly number[], count: number): number[] {
  const last: number[] = [];
  for (let i = ids.length - 1; i >= 0 && last.length < count; i--) {
    if (tokenizer.isVisible(ids[i]!)) last.unshift(ids[i]!);
  }
  return last;
}

/**
 * `text` without what later bytes may still change. A TextDecoder makes one U+FFFD of a character that the end cuts off
 * (Encoding Standard, 'UTF-8 decoder'), so all before the last one is final.
 */
function settled(text: string): string {
  return text.endsWith(REPLACEMENT) ? text.slice(0, -1) : text;
}
