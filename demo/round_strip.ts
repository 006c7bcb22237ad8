/**
 * The rounds as a strip of cells: a filled cell for each accepted draft, a struck one for each refused draft, and the full
 * model's own token. One stop in the tab order; arrow keys go from round to round.
 */

import type { GenerationPart } from "../src/index.ts";
import { element } from "./elements.ts";
import { CONTEXT_TOKENS, type RoundRecord } from "./round_text.ts";

export class RoundStrip {
  readonly #root: HTMLElement;
  readonly #onPoint: (round: number) => void;
  #records: RoundRecord[] = [];
  #buttons: HTMLButtonElement[] = [];
  #ids: number[] = [];
  /** The round in the tab order and the one that is marked, from 1; 0 for none. */
  #tabStop = 0;
  #highlighted = 0;

  /** @param onPoint told the round that is pointed at or has the focus, 0 for none */
  constructor(root: HTMLElement, onPoint: (round: number) => void) {
    this.#root = root;
    this.#onPoint = onPoint;
    root.addEventListener("pointerover", ({ target }) => onPoint(this.#numberOf(target)));
    root.addEventListener("pointerleave", () => onPoint(this.#numberOf(document.activeElement)));
    // Safari gives a clicked button no focus of its own.
    root.addEventListener("click", ({ target }) => this.#buttons[this.#numberOf(target) - 1]?.focus());
    root.addEventListener("focusin", ({ target }) => this.#focused(this.#numberOf(target)));
    root.addEventListener("focusout", () => onPoint(0));
    root.addEventListener("keydown", (event) => this.#move(event));
  }

  begin(promptIds: readonly number[]): void {
    this.#records = [];
    this.#buttons = [];
    this.#ids = [...promptIds];
    this.#tabStop = 0;
    this.#highlighted = 0;
    this.#root.replaceChildren();
  }

  append({ round, draftIds, tokens, ids }: GenerationPart): void {
    if (round) {
      const own = tokens[round.accepted];
      this.#add({
        number: this.#records.length + 1,
        draftIds,
        accepted: round.accepted,
        own: own && { text: own.text, origin: own.origin },
        idsBefore: this.#ids.slice(-CONTEXT_TOKENS),
      });
    }
    this.#ids.push(...ids);
  }

  record(number: number): RoundRecord | undefined {
    return this.#records[number - 1];
  }

  /** Marks a round; 0 marks none. */
  highlight(number: number): void {
    this.#buttons[this.#highlighted - 1]?.classList.remove("round--pointed");
    this.#highlighted = number;
    this.#buttons[number - 1]?.classList.add("round--pointed");
  }

  /** What a screen reader says of a round. */
  describe(number: number, words: string): void {
    this.#buttons[number - 1]?.setAttribute("aria-label", words);
  }

  #add(record: RoundRecord): void {
    const button = element("button", "round");
    button.type = "button";
    button.tabIndex = this.#tabStop === 0 ? 0 : -1;
    this.#tabStop ||= record.number;
    button.dataset.round = String(record.number);
    button.dataset.drafted = String(record.draftIds.length);
    button.dataset.accepted = String(record.accepted);
    button.setAttribute("aria-label", `Round ${record.number}`);
    for (let i = 0; i < record.draftIds.length; i++) {
      button.append(element("span", i < record.accepted ? "cell cell--accepted" : "cell cell--rejected"));
    }
    if (record.own) button.append(element("span", `cell cell--${record.own.origin}`));
    const item = element("li");
    item.append(button);
    this.#records.push(record);
    this.#buttons.push(button);
    this.#root.append(item);
  }

  #numberOf(target: EventTarget | null): number {
    const button = target instanceof Element ? target.closest<HTMLElement>("button.round") : null;
    return button && this.#root.contains(button) ? Number(button.dataset.round) : 0;
  }

  #focused(number: number): void {
    const button = this.#buttons[number - 1];
    if (!button) return;
    const before = this.#buttons[this.#tabStop - 1];
    if (before) before.tabIndex = -1;
    button.tabIndex = 0;
    this.#tabStop = number;
    this.#onPoint(number);
  }

  #move(event: KeyboardEvent): void {
    const number = this.#numberOf(event.target);
    const goals: Record<string, number> = {
      ArrowRight: number + 1,
      ArrowDown: number + 1,
      ArrowLeft: number - 1,
      ArrowUp: number - 1,
      Home: 1,
      End: this.#buttons.length,
    };
    const next = this.#buttons[(goals[event.key] ?? 0) - 1];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}
