/**
 * The rounds on a time axis, a bar for each: how long it took, how many tokens it emitted, what share of its drafts was
 * accepted, and what part of it was drafting. One stop in the tab order; arrow keys go from round to round.
 */

import type { GenerationPart, Model } from "../src/index.ts";
import { byId, element } from "./elements.ts";
import { duration, milliseconds } from "./format.ts";
import { perFrame } from "./frames.ts";
import { draftShare } from "./layer_work.ts";
import { onPointing } from "./pointer.ts";
import type { RoundEvents } from "./round_events.ts";
import { CONTEXT_TOKENS, type RoundRecord, shortSentence } from "./round_text.ts";
import { lineSpan, type Place, TimeLines, tickStep } from "./time_lines.ts";

/** How much the scale may differ from the wanted one before all bars are moved. */
const LATITUDE = 1.25;
/** Pixels below which a bar's number of tokens has no room. */
const SLIM = 9;

export class Timeline {
  readonly #box = byId("timeline-box", HTMLElement);
  readonly #axes = byId("timeline-axes", HTMLElement);
  readonly #list = byId("timeline", HTMLOListElement);
  readonly #empty = byId("timeline-empty", HTMLElement);
  readonly #ticks = byId("timeline-ticks", HTMLElement);
  readonly #select: (round: number) => void;
  readonly #update = perFrame(() => this.#layOut());
  #model: Model | undefined;
  #records: RoundRecord[] = [];
  #buttons: HTMLButtonElement[] = [];
  #ids: number[] = [];
  #lines = new TimeLines(0);
  #width = 0;
  /** Rounds that have their place. */
  #placed = 0;
  /** The round in the tab order and the one that is marked, from 1; 0 for none. */
  #tabStop = 0;
  #highlighted = 0;

  constructor({ point, select }: RoundEvents) {
    this.#select = select;
    const list = this.#list;
    onPointing(list, (target) => this.#numberOf(target), point);
    // Safari gives a clicked button no focus of its own. Nothing scrolls: the pointer would be on another bar.
    list.addEventListener("click", ({ target }) => {
      this.#buttons[this.#numberOf(target) - 1]?.focus({ preventScroll: true });
    });
    list.addEventListener("focusin", ({ target }) => this.#focused(this.#numberOf(target)));
    list.addEventListener("keydown", (event) => this.#move(event));
    new ResizeObserver(() => this.#update.request()).observe(list);
  }

  begin(model: Model | undefined, promptIds: readonly number[]): void {
    this.#model = model;
    this.#records = [];
    this.#buttons = [];
    this.#ids = [...promptIds];
    this.#tabStop = 0;
    this.#highlighted = 0;
    this.#list.replaceChildren();
    this.#begin(0);
    this.#update.flush();
  }

  append({ round, draftIds, draftParents, tokens, ids }: GenerationPart): void {
    if (round) {
      const own = tokens[round.accepted];
      const record: RoundRecord = {
        number: this.#records.length + 1,
        ...{ round, draftIds, draftParents, ids },
        own: own && { text: own.text, origin: own.origin },
        idsBefore: this.#ids.slice(-CONTEXT_TOKENS),
      };
      this.#records.push(record);
      this.#buttons.push(this.#button(record));
      this.#update.request();
    }
    this.#ids.push(...ids);
  }

  /** Everything that came is shown. */
  end(): void {
    this.#update.flush();
  }

  get count(): number {
    return this.#records.length;
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

  /** Makes a round the one in the tab order, in sight. */
  reveal(number: number): void {
    this.#stopAt(number);
    const button = this.#buttons[number - 1];
    if (!button) return;
    const [box, bar] = [this.#box.getBoundingClientRect(), button.getBoundingClientRect()];
    if (bar.top < box.top) this.#box.scrollTop -= box.top - bar.top;
    if (bar.bottom > box.bottom) this.#box.scrollTop += bar.bottom - box.bottom;
  }

  /** What a screen reader says of a round. */
  describe(number: number, words: string): void {
    this.#buttons[number - 1]?.setAttribute("aria-label", words);
  }

  #button(record: RoundRecord): HTMLButtonElement {
    const { round, number } = record;
    const tokens = record.ids.length;
    const button = element("button", "round");
    button.type = "button";
    button.tabIndex = this.#tabStop === 0 ? 0 : -1;
    this.#tabStop ||= number;
    if (round.decision?.reason === "probe") button.classList.add("round--probe");
    const { drafted, accepted, exitLayer } = round;
    Object.assign(button.dataset, { round: number, drafted, accepted, exitLayer, tokens });
    button.setAttribute("aria-label", shortSentence(record));
    const bar = element("span", "round__bar");
    if (drafted === 0) bar.append(part("share share--plain", 1));
    if (accepted > 0) bar.append(part("share share--accepted", accepted));
    if (accepted < drafted) bar.append(part("share share--refused", drafted - accepted));
    const drafting = this.#model ? draftShare(this.#model.spec, round) : 0;
    const work = element("span", "round__work");
    if (drafting > 0) work.append(part("work work--draft", drafting));
    work.append(part("work work--verify", 1 - drafting));
    button.append(element("span", "round__tokens", String(tokens)), bar, work);
    return button;
  }

  /** Gives the rounds that came their places, and all of them new ones where the scale suits no more. */
  #layOut(): void {
    const width = this.#list.clientWidth || 320;
    const wanted = lineSpan(
      this.#records.map(({ round }) => round),
      width,
    );
    const ratio = wanted / this.#lines.spanMs;
    if (width !== this.#width || !(ratio < LATITUDE && ratio > 1 / LATITUDE)) this.#begin(wanted);
    this.#width = width;
    const box = this.#box;
    const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    const added: HTMLElement[] = [];
    for (; this.#placed < this.#records.length; this.#placed++) {
      const [{ round }, button] = [this.#records[this.#placed]!, this.#buttons[this.#placed]!];
      const item = (button.parentElement as HTMLElement | null) ?? element("li");
      if (!button.parentElement) {
        item.append(button);
        added.push(item);
      }
      const line = this.#lines.starts.length;
      const place = this.#lines.place(round);
      moveTo(item, place);
      item.classList.toggle("slim", place.width * width < SLIM);
      if (this.#lines.starts.length > line) this.#axes.append(this.#axis(line));
    }
    this.#list.append(...added);
    this.#list.style.height = `calc(${this.#lines.starts.length} * var(--timeline-line))`;
    this.#empty.hidden = this.#records.length > 0;
    this.#ticks.textContent = this.#records.length > 0 ? `, thin lines every ${milliseconds(this.#step)}` : "";
    if (atEnd && added.length > 0) box.scrollTop = box.scrollHeight;
  }

  #begin(spanMs: number): void {
    this.#lines = new TimeLines(spanMs);
    this.#placed = 0;
    this.#axes.replaceChildren();
  }

  get #step(): number {
    return tickStep(this.#lines.spanMs);
  }

  /** A line's beginning in words, and its thin lines. */
  #axis(line: number): HTMLElement {
    const from = this.#lines.starts[line] ?? 0;
    const until = from + this.#lines.spanMs;
    const axis = element("div", "axis");
    axis.style.top = `calc(${line} * var(--timeline-line))`;
    axis.append(element("span", "axis__from", duration(from)));
    for (let at = Math.ceil(from / this.#step); at * this.#step < until; at++) {
      const tick = element("span", "axis__tick");
      tick.style.left = percentage((at * this.#step - from) / this.#lines.spanMs);
      axis.append(tick);
    }
    return axis;
  }

  #numberOf(target: EventTarget | null): number {
    const button = target instanceof Element ? target.closest<HTMLElement>("button.round") : null;
    return button && this.#list.contains(button) ? Number(button.dataset.round) : 0;
  }

  #focused(number: number): void {
    if (number === 0) return;
    this.#stopAt(number);
    this.#select(number);
  }

  #stopAt(number: number): void {
    const before = this.#buttons[this.#tabStop - 1];
    const button = this.#buttons[number - 1];
    if (!button) return;
    if (before) before.tabIndex = -1;
    button.tabIndex = 0;
    this.#tabStop = number;
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

function moveTo(item: HTMLElement, { line, left, width, cut }: Place): void {
  item.style.top = `calc(${line} * var(--timeline-line))`;
  item.style.left = percentage(left);
  item.style.width = percentage(width);
  item.classList.toggle("cut", cut);
}

/** A part of a bar, as wide as its share of the bar. */
function part(className: string, share: number): HTMLElement {
  const made = element("span", className);
  made.style.flexGrow = String(share);
  return made;
}

function percentage(share: number): string {
  return `${(share * 100).toFixed(3)}%`;
}
