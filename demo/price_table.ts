/** What the governor compared in a round: a row for each plan, the chosen one marked. */

import type { PlanDecision, PlanPrice } from "../src/index.ts";
import { element } from "./elements.ts";
import { significant } from "./format.ts";
import { fastest } from "./governor_words.ts";
import { isPlan, type Plan, planLabel } from "./plan_words.ts";

const HEADS = ["Plan", "ms", "tokens", "tokens/s"];
/** So many rows are shown in any case. */
const FEW = 7;

/** The plans that tell most: plain decoding, the best of each drafter and exit layer, and the one that was chosen. */
export function tellingPrices(prices: readonly PlanPrice[], chosen: Plan): readonly PlanPrice[] {
  if (prices.length <= FEW) return prices;
  const kinds = new Set(prices.map(kindOf));
  const best = new Set([...kinds].map((kind) => fastest(prices.filter((price) => kindOf(price) === kind))));
  return prices.filter((price) => best.has(price) || isPlan(price, chosen));
}

export function priceTable({ prices }: PlanDecision, chosen: Plan, all: boolean): HTMLTableElement {
  const table = element("table", "prices");
  table.append(element("caption", "", "What the governor expected of a round"));
  const heads = element("tr");
  for (const head of HEADS) {
    const cell = element("th", "", head);
    cell.scope = "col";
    heads.append(cell);
  }
  table.createTHead().append(heads);
  const body = table.createTBody();
  for (const price of all ? prices : tellingPrices(prices, chosen)) body.append(row(price, isPlan(price, chosen)));
  return table;
}

function kindOf({ drafter = "layerskip", exitLayer }: Plan): string {
  return `${drafter} ${exitLayer}`;
}

function row(price: PlanPrice, chosen: boolean): HTMLTableRowElement {
  const made = element("tr", chosen ? "prices__chosen" : "");
  const head = element("th", "", planLabel(price));
  head.scope = "row";
  if (chosen) head.append(element("span", "visually-hidden", " (chosen)"));
  made.append(head);
  const { milliseconds, tokens } = price;
  for (const value of [milliseconds, tokens, (tokens * 1000) / milliseconds]) {
    made.append(element("td", "", significant(value)));
  }
  return made;
}
