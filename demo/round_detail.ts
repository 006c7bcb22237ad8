/**
 * One round spelled out: its drafts, in a line or as the tree they are, with those that were refused and the full model's own
 * token; how long it took, and why the governor planned it so.
 */

import type { ModelSpec } from "../src/index.ts";
import { isChain } from "./draft_tree.ts";
import { byId, element } from "./elements.ts";
import { count, percent } from "./format.ts";
import { reasonWords } from "./governor_words.ts";
import { chainedDrafts, draftShare } from "./layer_work.ts";
import { priceTable, tellingPrices } from "./price_table.ts";
import { draftedWords, outcome, type RoundRecord, visible, yieldWords } from "./round_text.ts";
import { type TreeTexts, treeView } from "./tree_view.ts";

export interface DetailEvents {
  /** The round before or after the one that is shown is asked for. */
  step: (by: 1 | -1) => void;
}

/** What a round is shown with. */
export interface RoundContext {
  spec: ModelSpec;
  texts: TreeTexts;
  /** Rounds so far. */
  rounds: number;
}

export class RoundDetail {
  readonly #hint = byId("detail-hint", HTMLElement);
  readonly #title = byId("detail-title", HTMLElement);
  readonly #body = byId("detail-body", HTMLElement);
  readonly #before = byId("round-before", HTMLButtonElement);
  readonly #after = byId("round-after", HTMLButtonElement);
  /** All plans that were compared are shown; stays so from round to round. */
  #allPlans = false;

  constructor({ step }: DetailEvents) {
    this.#before.addEventListener("click", () => step(-1));
    this.#after.addEventListener("click", () => step(1));
  }

  clear(): void {
    this.#hint.hidden = false;
    this.#title.textContent = "One round";
    this.#body.replaceChildren();
    this.#before.disabled = true;
    this.#after.disabled = true;
  }

  show(record: RoundRecord, { spec, texts, rounds }: RoundContext): void {
    this.#hint.hidden = true;
    this.#title.replaceChildren(`Round ${record.number}`, element("span", "", `: ${draftedWords(record)}`));
    this.#before.disabled = false;
    this.#after.disabled = false;
    // At either end they keep the focus.
    this.#before.setAttribute("aria-disabled", String(record.number <= 1));
    this.#after.setAttribute("aria-disabled", String(record.number >= rounds));
    const what = element("div", "");
    const drafts = isChain(record.draftParents) ? chips(record, texts.drafts) : treeView(record, texts);
    what.append(drafts, element("p", "detail__words", sentences(record, spec)));
    this.#body.replaceChildren(what, ...this.#reason(record));
    // What has to be scrolled must be reached with the keyboard.
    if (drafts.scrollWidth > drafts.clientWidth) drafts.tabIndex = 0;
  }

  #reason({ round }: RoundRecord): HTMLElement[] {
    const { decision } = round;
    if (!decision) return [];
    const place = element("div", "");
    const more = element("button", "link");
    more.type = "button";
    const fill = (): void => {
      const telling = tellingPrices(decision.prices, round).length;
      more.hidden = telling === decision.prices.length;
      more.textContent = this.#allPlans ? "Show fewer plans" : `Show all ${count(decision.prices.length)} plans`;
      more.setAttribute("aria-expanded", String(this.#allPlans));
      place.replaceChildren(priceTable(decision, round, this.#allPlans));
    };
    more.addEventListener("click", () => {
      this.#allPlans = !this.#allPlans;
      fill();
    });
    fill();
    const why = element("div", "");
    why.append(element("p", "", reasonWords(decision)), place, more);
    return [why];
  }
}

/** A chain's drafts, struck where they were refused, and the full model's own token. */
function chips({ round, own }: RoundRecord, drafts: readonly string[]): HTMLElement {
  const line = element("p", "detail__tokens");
  for (const [i, text] of drafts.entries()) {
    const accepted = i < round.accepted;
    line.append(element(accepted ? "span" : "s", `chip chip--${accepted ? "accepted" : "rejected"}`, visible(text)));
  }
  if (own) line.append(element("span", `chip chip--${own.origin}`, visible(own.text)));
  return line;
}

function sentences(record: RoundRecord, spec: ModelSpec): string {
  const { round } = record;
  const drafting = draftShare(spec, round);
  const free =
    round.drafted === 0 || chainedDrafts(round) > 0 ? "" : " No layers drafted: all it computed was the check.";
  const work = drafting > 0 ? ` Of the layers computed, ${percent(drafting)} were the drafts'.` : free;
  const came = round.drafted > 0 ? `${outcome(record)}: ` : "";
  return `${came}${yieldWords(record)}.${work}`;
}
