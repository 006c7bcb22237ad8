/** One round spelled out: its drafts, struck where they were refused, and the full model's own token. */

import { element } from "./elements.ts";
import { outcome, type RoundRecord, visible } from "./round_text.ts";

const HINT = "Point at a round, tap it or go there with the arrow keys to see what was drafted.";

export class RoundDetail {
  readonly #root: HTMLElement;

  constructor(root: HTMLElement) {
    this.#root = root;
    this.clear();
  }

  clear(): void {
    this.#root.replaceChildren(element("p", "detail__hint", HINT));
  }

  show(record: RoundRecord, drafts: readonly string[]): void {
    const head = element("p", "detail__head");
    head.append(element("b", "", `Round ${record.number}`), ` ${outcome(record)}`);
    const line = element("p", "detail__tokens");
    for (const [i, text] of drafts.entries()) {
      const accepted = i < record.accepted;
      line.append(element(accepted ? "span" : "s", `chip chip--${accepted ? "accepted" : "rejected"}`, visible(text)));
    }
    if (record.own) line.append(element("span", `chip chip--${record.own.origin}`, visible(record.own.text)));
    this.#root.replaceChildren(head, line);
  }
}
