/**
 * The texts whose keys and values are kept: what a new text has in common with one of them is not computed again.
 *
 * All share the pages of one KV cache. Texts that begin alike share the pages of their beginning, so that a conversation, its
 * branches and its edits take the room of what differs. Where there is no page left, the text that was used least recently
 * loses its end, page by page.
 *
 * Two tokens are the same if their ids are, and the kernels that computed them: those of a prompt, or of generated tokens. So
 * what is reused has the very bits that would be computed.
 */

import type { PromptPlace } from "../decode/scheduler.ts";
import type { Forward } from "../forward/forward.ts";
import { type KvPages, pagesFor } from "../forward/kv_pages.ts";
import { PAGE_SLOTS } from "../kernels/constants.ts";
import type { KvCacheUse, Transcript } from "../types.ts";
import type { RangeOf } from "./transcript.ts";

interface KeptText {
  ids: number[];
  /** Whether each was generated. */
  generated: boolean[];
  pages: number[];
  /** Tokens from the front that second models have keys and values of. */
  seen: Map<Forward, number>;
  usedAt: number;
}

/** What the cache lays its pages out with. */
export interface PageLayout {
  /** For the next submissions, the pages of the text in a lane from number `from` on. */
  use: (lane: number, pages: readonly number[], from: number) => void;
  /** Copies the first slots of a page. */
  copy: (from: number, to: number, slots: number) => void;
}

export class KeptTexts {
  readonly #pages: KvPages;
  readonly #layout: PageLayout;
  /** Texts that nobody works on, in no order. */
  readonly #texts = new Set<KeptText>();
  #uses = 0;

  constructor(pages: KvPages, layout: PageLayout) {
    this.#pages = pages;
    this.#layout = layout;
  }

  get use(): KvCacheUse {
    const { count, free } = this.#pages;
    return { capacity: count * PAGE_SLOTS, tokens: (count - free) * PAGE_SLOTS, texts: this.#texts.size };
  }

  /**
   * Opens a text to be worked on in a lane.
   * @param most tokens that may be reused; 0: the text is computed anew
   * @param positions that it takes at most, with rows that are refused: whoever opens it has been given room for them
   * @throws GpuError | DeviceLostError where a page cannot be copied; nothing is taken then
   */
  open({ ids, generated }: Transcript, most: number, positions: number, lane = 0): OpenText {
    const flags = flagsOf(ids.length, generated);
    const begin: KeptText = { ids: [...ids], generated: flags, pages: [], seen: new Map(), usedAt: 0 };
    let reused: number;
    try {
      reused = this.#share(begin, most);
    } catch (error) {
      this.#release(begin);
      throw error;
    }
    this.#layout.use(lane, begin.pages, 0);
    return new OpenText(begin, reused, {
      reserve: (end) => this.#reserve(begin, Math.min(end, positions), lane),
      keep: () => this.#keep(begin),
      release: () => this.#release(begin),
    });
  }

  /** Forgets all texts that nobody works on. */
  clear(): void {
    for (const text of this.#texts) this.#release(text);
  }

  /** Gives a new text the longest beginning that there is. @returns its tokens */
  #share(text: KeptText, most: number): number {
    let source: KeptText | undefined;
    let length = 0;
    for (const kept of this.#texts) {
      const common = Math.min(most, commonLength(kept, text));
      if (common > length) [source, length] = [kept, common];
    }
    if (!source) return 0;
    source.usedAt = ++this.#uses;
    for (const [model, seen] of source.seen) text.seen.set(model, Math.min(seen, length));
    if (length === source.ids.length) {
      // The text goes on where the kept one ends: it is that one from now on.
      this.#texts.delete(source);
      text.pages = source.pages;
      return length;
    }
    const whole = Math.floor(length / PAGE_SLOTS);
    text.pages = source.pages.slice(0, whole);
    for (const page of text.pages) this.#pages.share(page);
    const rest = length - whole * PAGE_SLOTS;
    if (rest === 0) return length;
    // They part within a page: each has one of its own. Second models have slots of their own, which are not copied.
    for (const [model, seen] of text.seen) text.seen.set(model, Math.min(seen, whole * PAGE_SLOTS));
    const from = source.pages[whole]!;
    this.#pages.share(from); // it is not to go to anybody else meanwhile
    const to = this.#take();
    if (to !== undefined) {
      text.pages.push(to);
      try {
        this.#layout.copy(from, to, rest);
      } finally {
        this.#pages.release(from);
      }
      return length;
    }
    if (!this.#pages.isShared(from)) {
      text.pages.push(from); // the other text has lost its end meanwhile
      return length;
    }
    this.#pages.release(from);
    return whole * PAGE_SLOTS;
  }

  #reserve(text: KeptText, end: number, lane: number): void {
    const had = text.pages.length;
    while (text.pages.length < pagesFor(end)) {
      const page = this.#take();
      if (page === undefined) throw new Error(`no page for position ${end - 1}`); // whoever works was admitted with room for all of it
      text.pages.push(page);
    }
    this.#layout.use(lane, text.pages.slice(had), had);
  }

  #keep(text: KeptText): void {
    for (const page of text.pages.splice(pagesFor(text.ids.length))) this.#pages.release(page);
    if (text.pages.length === 0) return;
    // What it begins with needs no place of its own.
    for (const kept of this.#texts) if (commonLength(kept, text) === kept.ids.length) this.#release(kept);
    text.usedAt = ++this.#uses;
    this.#texts.add(text);
  }

  #release(text: KeptText): void {
    this.#texts.delete(text);
    for (const page of text.pages.splice(0)) this.#pages.release(page);
  }

  /** A free page, if need be the last one of the text that was used least recently. */
  #take(): number | undefined {
    for (;;) {
      const page = this.#pages.take();
      if (page !== undefined) return page;
      let oldest: KeptText | undefined;
      for (const text of this.#texts) if (!oldest || text.usedAt < oldest.usedAt) oldest = text;
      if (!oldest) return undefined;
      this.#pages.release(oldest.pages.pop()!);
      const left = oldest.pages.length * PAGE_SLOTS;
      oldest.ids.length = left;
      oldest.generated.length = left;
      for (const [model, seen] of oldest.seen) oldest.seen.set(model, Math.min(seen, left));
      if (left === 0) this.#texts.delete(oldest);
    }
  }
}

/** What becomes of an open text's pages. */
interface PageMoves {
  reserve: (end: number) => void;
  keep: () => void;
  release: () => void;
}

/** A text that is worked on. Its pages are its own until it is closed. */
export class OpenText implements PromptPlace {
  readonly reused: number;
  readonly #text: KeptText;
  readonly #pages: PageMoves;
  #closed = false;

  /** @internal Use `KeptTexts.open`. */
  constructor(text: KeptText, reused: number, pages: PageMoves) {
    this.reused = reused;
    this.#text = text;
    this.#pages = pages;
  }

  isGenerated(position: number): boolean {
    return this.#text.generated[position] ?? true;
  }

  seenBy(model: Forward): number {
    return this.#text.seen.get(model) ?? 0;
  }

  reserve(end: number): void {
    this.#pages.reserve(end);
  }

  /**
   * Keeps it: all of its prompt has been computed.
   * @param emitted tokens behind the prompt that have keys and values
   * @param models second models that have seen the prompt
   */
  keep(emitted: readonly number[], models: readonly Forward[]): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const model of models) this.#text.seen.set(model, this.#text.ids.length);
    for (const id of emitted) {
      this.#text.ids.push(id);
      this.#text.generated.push(true);
    }
    this.#pages.keep();
  }

  /** Gives up all but what it had when it was opened. */
  abandon(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { ids, generated } = this.#text;
    ids.length = this.reused;
    generated.length = this.reused;
    this.#pages.keep();
  }

  /** Gives it up. */
  release(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pages.release();
  }
}

/** Tokens that two texts begin with. */
function commonLength(a: KeptText, b: KeptText): number {
  const most = Math.min(a.ids.length, b.ids.length);
  let length = 0;
  while (length < most && a.ids[length] === b.ids[length] && a.generated[length] === b.generated[length]) length++;
  return length;
}

function flagsOf(length: number, ranges: readonly RangeOf[]): boolean[] {
  const flags = Array.from({ length }, () => false);
  for (const [from, to] of ranges) flags.fill(true, from, to);
  return flags;
}
