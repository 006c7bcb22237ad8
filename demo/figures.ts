/** Four numbers of a run: what drafting gained and what it cost. The first three move while the text streams. */

import type { GenerationPart, GenerationResult } from "../src/index.ts";
import { isChain } from "./draft_tree.ts";
import { element } from "./elements.ts";
import { count, counted, duration, percent, significant } from "./format.ts";
import { perFrame } from "./frames.ts";

const NONE = "–";

type FigureName = "tokensPerRound" | "acceptance" | "speed" | "dispatches";

const TITLES: Record<FigureName, string> = {
  tokensPerRound: "tokens a round",
  acceptance: "drafts accepted",
  speed: "tokens a second",
  dispatches: "dispatches a token",
};

interface Figure {
  value: HTMLElement;
  note: HTMLElement;
}

export class Figures {
  readonly #figures = new Map<FigureName, Figure>();
  readonly #update = perFrame(() => this.#showSoFar());
  #decoded = 0;
  #rounds = 0;
  #drafted = 0;
  #accepted = 0;
  /** Drafts stood beside each other, so that not all could be accepted. */
  #trees = false;
  #start = 0;

  constructor(root: HTMLElement) {
    for (const [name, title] of Object.entries(TITLES) as [FigureName, string][]) {
      const block = element("div", "figure");
      const value = element("b", "figure__value");
      const note = element("span", "figure__note");
      const description = element("dd");
      description.append(value, note);
      block.dataset.figure = name;
      block.append(element("dt", "", title), description);
      root.append(block);
      this.#figures.set(name, { value, note });
    }
    this.begin();
  }

  begin(): void {
    this.#decoded = 0;
    this.#rounds = 0;
    this.#drafted = 0;
    this.#accepted = 0;
    this.#trees = false;
    this.#set("dispatches", NONE, "");
    this.#update.flush();
  }

  append({ round, ids, draftParents }: GenerationPart): void {
    if (!round) {
      this.#start = performance.now();
      return;
    }
    this.#rounds++;
    this.#decoded += ids.length;
    this.#drafted += round.drafted;
    this.#accepted += round.accepted;
    this.#trees ||= !isChain(draftParents);
    this.#update.request();
  }

  /** The library's own numbers, in place of those taken here. */
  end({ rounds, stats }: GenerationResult): void {
    this.#update.flush();
    if (rounds.length === 0) return;
    this.#set(
      "speed",
      significant(stats.tokensPerSecond),
      `${duration(stats.decodeMs)}, prompt ${duration(stats.prefillMs)}`,
    );
    this.#set("dispatches", significant(stats.dispatches / (stats.tokens - 1)), counted(stats.submits, "submission"));
  }

  #showSoFar(): void {
    if (this.#rounds === 0) {
      this.#set("tokensPerRound", NONE, "plain: 1");
      this.#set("acceptance", NONE, "");
      this.#set("speed", NONE, "");
      return;
    }
    const seconds = (performance.now() - this.#start) / 1000;
    this.#set(
      "tokensPerRound",
      significant(this.#decoded / this.#rounds),
      `${counted(this.#rounds, "round")}, plain: 1 a round`,
    );
    this.#set(
      "acceptance",
      this.#drafted > 0 ? percent(this.#accepted / this.#drafted) : NONE,
      this.#drafted > 0
        ? `${count(this.#accepted)} of ${count(this.#drafted)}${this.#trees ? ", in trees" : ""}`
        : "nothing drafted",
    );
    this.#set("speed", significant(this.#decoded / seconds), duration(seconds * 1000));
  }

  #set(name: FigureName, value: string, note: string): void {
    const figure = this.#figures.get(name);
    if (!figure) return;
    figure.value.textContent = value;
    figure.note.textContent = note;
  }
}
