/** Everything a run shows: the text, the rounds, one round in detail, and the figures. */

import type { GenerationPart, GenerationResult, Model, Round } from "../src/index.ts";
import { balance, showBalance } from "./balance.ts";
import { byId } from "./elements.ts";
import { Figures } from "./figures.ts";
import { perFrame } from "./frames.ts";
import { governorSummary } from "./governor_words.ts";
import { Legend } from "./legend.ts";
import { promptIds } from "./prompt_field.ts";
import { RoundDetail } from "./round_detail.ts";
import { draftTexts, sentence, wordBefore } from "./round_text.ts";
import type { Settings } from "./settings.ts";
import { Timeline } from "./timeline.ts";
import { TokenView } from "./token_view.ts";

export class RunView {
  readonly #events = {
    point: (round: number): void => this.#pointAt(round),
    select: (round: number): void => this.#select(round),
  };
  readonly #tokens = new TokenView(byId("story", HTMLElement), this.#events);
  readonly #timeline = new Timeline(this.#events);
  readonly #detail = new RoundDetail({ step: (by) => this.#step(by) });
  readonly #legend = new Legend(byId("legend", HTMLElement));
  readonly #figures = new Figures(byId("figures", HTMLElement));
  readonly #balance = byId("balance", HTMLElement);
  readonly #governor = byId("governor", HTMLElement);
  readonly #summarise = perFrame(() => this.#showSummary());
  #model: Model | undefined;
  #rounds: Round[] = [];
  /** The round that was chosen, and the one whose detail is shown; 0 for none. */
  #selected = 0;
  #detailed = 0;

  begin(model: Model, { text, prompt }: Settings): void {
    this.#begin(model, promptIds(model, prompt));
    this.#tokens.begin(text, model.spec.eosTokenIds, typeof prompt !== "string");
  }

  /** Before the first run of a model: what another one wrote says nothing of it. */
  clear(): void {
    this.#begin(undefined, []);
    this.#tokens.clear();
  }

  append(part: GenerationPart): void {
    this.#tokens.append(part);
    this.#timeline.append(part);
    this.#legend.append(part);
    this.#figures.append(part);
    if (part.round) this.#rounds.push(part.round);
    this.#summarise.request();
  }

  /** @param result undefined when the run failed */
  end(result: GenerationResult | undefined): void {
    this.#tokens.end();
    this.#timeline.end();
    this.#legend.end();
    this.#summarise.flush();
    this.#showDetail(this.#detailed); // there may be a round after it now
    if (!result) return;
    this.#figures.end(result);
    showBalance(this.#balance, balance(result));
  }

  #begin(model: Model | undefined, ids: readonly number[]): void {
    this.#model = model;
    this.#rounds = [];
    this.#selected = 0;
    this.#detailed = 0;
    this.#timeline.begin(model, ids);
    this.#detail.clear();
    this.#legend.begin();
    this.#figures.begin();
    this.#summarise.flush();
    showBalance(this.#balance, undefined);
  }

  #showSummary(): void {
    const words = governorSummary(this.#rounds);
    this.#governor.hidden = words === undefined;
    this.#governor.textContent = words ?? "";
  }

  #select(round: number): void {
    this.#selected = round;
    this.#pointAt(round);
  }

  #step(by: 1 | -1): void {
    const round = this.#detailed + by;
    if (!this.#timeline.record(round)) return;
    this.#timeline.reveal(round);
    this.#select(round);
  }

  /** @param pointed 0: none, so that the chosen one is marked. The detail stays until there is another. */
  #pointAt(pointed: number): void {
    const round = pointed || this.#selected;
    this.#tokens.highlight(round);
    this.#timeline.highlight(round);
    this.#showDetail(round);
  }

  #showDetail(round: number): void {
    const record = this.#timeline.record(round);
    if (!record || !this.#model) return;
    const drafts = draftTexts(this.#model, record);
    this.#detailed = round;
    const texts = { drafts, before: wordBefore(this.#model, record) };
    this.#detail.show(record, { spec: this.#model.spec, texts, rounds: this.#timeline.count });
    this.#timeline.describe(round, sentence(record, drafts));
  }
}
