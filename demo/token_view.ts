/** The streamed text: a span for each token, which says how the token came. Spans are only ever appended. */

import type { GenerationPart, Token } from "../src/index.ts";
import { element } from "./elements.ts";
import { originName } from "./origins.ts";
import { onPointing } from "./pointer.ts";
import type { RoundEvents } from "./round_events.ts";

export class TokenView {
  readonly #root: HTMLElement;
  #eosTokenIds: readonly number[] = [];
  /** Spans of each part: the prefill's at 0, those of round n (from 1) at n. */
  #parts: HTMLElement[][] = [];
  #highlighted = 0;

  constructor(root: HTMLElement, { point, select }: RoundEvents) {
    this.#root = root;
    onPointing(root, roundOf, point);
    root.addEventListener("click", ({ target }) => {
      const round = roundOf(target);
      if (round > 0) select(round);
    });
  }

  /** @param answers what follows answers the prompt, and does not continue it */
  begin(prompt: string, eosTokenIds: readonly number[], answers: boolean): void {
    this.#eosTokenIds = eosTokenIds;
    this.#parts = [];
    this.#highlighted = 0;
    const className = answers ? "story__prompt story__prompt--message" : "story__prompt";
    this.#root.replaceChildren(element("span", className, prompt));
    this.#root.setAttribute("aria-busy", "true");
  }

  clear(): void {
    this.#parts = [];
    this.#highlighted = 0;
    this.#root.replaceChildren();
  }

  append({ tokens }: GenerationPart): void {
    const round = this.#parts.length;
    const spans = tokens.map((token) => this.#span(token, round));
    this.#parts.push(spans);
    this.#root.append(...spans);
  }

  end(): void {
    this.#root.removeAttribute("aria-busy");
  }

  /** Marks the tokens of a round; 0 marks none. */
  highlight(round: number): void {
    for (const span of this.#parts[this.#highlighted] ?? []) span.classList.remove("token--pointed");
    this.#highlighted = round;
    if (round > 0) for (const span of this.#parts[round] ?? []) span.classList.add("token--pointed");
  }

  #span({ id, text, origin }: Token, round: number): HTMLElement {
    const span = element("span", `token token--${origin}`, text);
    const ends = this.#eosTokenIds.includes(id);
    if (ends) span.classList.add("token--end");
    span.dataset.id = String(id);
    span.dataset.origin = origin;
    span.dataset.round = String(round);
    span.title = `id ${id}: ${originName(origin)}${ends ? ", end of text" : ""}`;
    return span;
  }
}

function roundOf(target: EventTarget | null): number {
  return target instanceof HTMLElement ? Number(target.dataset.round ?? 0) : 0;
}
