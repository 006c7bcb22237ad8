/** The key to the tokens' looks, with how many came each way. */

import type { GenerationPart, TokenOrigin } from "../src/index.ts";
import { element } from "./elements.ts";
import { count } from "./format.ts";
import { perFrame } from "./frames.ts";
import { ORIGINS } from "./origins.ts";

export class Legend {
  readonly #counts = new Map<TokenOrigin, number>();
  readonly #outputs = new Map<TokenOrigin, HTMLElement>();
  readonly #update = perFrame(() => this.#show());

  constructor(root: HTMLElement) {
    const items = ORIGINS.map(({ origin, name, meaning }) => {
      const item = element("li", "legend__item");
      const output = element("b", "legend__count", "0");
      item.title = meaning;
      item.dataset.origin = origin;
      item.append(element("span", `token token--${origin}`, name), " ", output);
      this.#outputs.set(origin, output);
      return item;
    });
    root.replaceChildren(...items);
  }

  begin(): void {
    this.#counts.clear();
    this.#update.flush();
  }

  append({ tokens }: GenerationPart): void {
    for (const { origin } of tokens) this.#counts.set(origin, (this.#counts.get(origin) ?? 0) + 1);
    this.#update.request();
  }

  end(): void {
    this.#update.flush();
  }

  #show(): void {
    for (const [origin, output] of this.#outputs) output.textContent = count(this.#counts.get(origin) ?? 0);
  }
}
