/**
 * The pages of the KV cache: which are free, and how many texts share each (paged attention: Kwon et al. 2023, section 4.1).
 *
 * A page is `PAGE_SLOTS` slots of every layer. Texts that begin alike share the pages of their beginning.
 */

import { PAGE_SLOTS } from "../kernels/constants.ts";

/** Pages that `tokens` tokens take. */
export function pagesFor(tokens: number): number {
  return Math.ceil(tokens / PAGE_SLOTS);
}

export class KvPages {
  readonly count: number;
  /** Texts that have each page. */
  readonly #uses: number[];
  /** Free pages, the next one to be given last. */
  readonly #free: number[];

  constructor(count: number) {
    this.count = count;
    this.#uses = Array.from({ length: count }, () => 0);
    this.#free = Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  get free(): number {
    return this.#free.length;
  }

  /** A page that nobody has; undefined where there is none. */
  take(): number | undefined {
    const page = this.#free.pop();
    if (page !== undefined) this.#uses[page] = 1;
    return page;
  }

  /** A further text has the page. */
  share(page: number): void {
    this.#uses[page]!++;
  }

  /** Whether several texts have the page. */
  isShared(page: number): boolean {
    return this.#uses[page]! > 1;
  }

  /** A text has it no more. */
  release(page: number): void {
    if (--this.#uses[page]! === 0) this.#free.push(page);
  }
}
