/** The table and the verdict of a comparison. */

import { byId, element } from "./elements.ts";
import { counted } from "./format.ts";
import { type Comparison, identicalIds, rows, verdict } from "./verdict.ts";

export class ComparisonView {
  readonly #section = byId("comparison", HTMLElement);
  readonly #verdict = byId("verdict", HTMLElement);
  readonly #table = byId("comparison-table", HTMLTableElement);

  begin(): void {
    this.#section.hidden = true;
    delete this.#table.dataset.identical;
  }

  show(comparison: Comparison, software: boolean): void {
    const identical = identicalIds(comparison);
    this.#verdict.textContent = verdict(comparison, software);
    this.#table.dataset.identical = String(identical);
    this.#table.tHead?.replaceChildren(line("th", ["", "Plain", comparison.name, "Ratio"]));
    const body = this.#table.tBodies[0];
    body?.replaceChildren(
      ...rows(comparison).map(({ name, plain, drafted, ratio }) => line("td", [name, plain, drafted, ratio])),
      idsLine(identical, comparison.plain.ids.length),
    );
    this.#section.hidden = false;
    this.#section.scrollIntoView({ block: "nearest" });
  }
}

function line(kind: "th" | "td", [name = "", ...values]: string[]): HTMLTableRowElement {
  const row = element("tr");
  const head = element(kind === "th" ? "td" : "th", "", name);
  if (head.localName === "th") head.setAttribute("scope", "row");
  row.append(head);
  for (const value of values) {
    const cell = element(kind, "", value);
    if (kind === "th") cell.setAttribute("scope", "col");
    row.append(cell);
  }
  return row;
}

function idsLine(identical: boolean, tokens: number): HTMLTableRowElement {
  const row = element("tr", identical ? "ids ids--identical" : "ids ids--different");
  const head = element("th", "", "Token ids");
  head.scope = "row";
  const cell = element("td", "", identical ? `✓ identical, all ${counted(tokens, "token")}` : "✗ different");
  cell.colSpan = 3;
  row.append(head, cell);
  return row;
}
