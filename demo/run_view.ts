/** Everything that shows one run: the text, its legend, the rounds and the figures. */

import type { GenerationPart, GenerationResult, Model } from "../src/index.ts";
import { balance, showBalance } from "./balance.ts";
import { byId } from "./elements.ts";
import { Figures } from "./figures.ts";
import { Legend } from "./legend.ts";
import { promptIds } from "./prompt_field.ts";
import { RoundDetail } from "./round_detail.ts";
import { RoundStrip } from "./round_strip.ts";
import { draftTexts, sentence } from "./round_text.ts";
import type { Settings } from "./settings.ts";
import { TokenView } from "./token_view.ts";

export class RunView {
  readonly #point = (round: number): void => this.#pointAt(round);
  readonly #tokens = new TokenView(byId("story", HTMLElement), this.#point);
  readonly #strip = new RoundStrip(byId("strip", HTMLElement), this.#point);
  readonly #detail = new RoundDetail(byId("detail", HTMLElement));
  readonly #legend = new Legend(byId("legend", HTMLElement));
  readonly #figures = new Figures(byId("figures", HTMLElement));
  readonly #balance = byId("balance", HTMLElement);
  #model: Model | undefined;
  #exitLayer = 0;

  begin(model: Model, { text, prompt, exitLayer }: Settings): void {
    this.#model = model;
    this.#exitLayer = exitLayer;
    this.#tokens.begin(text, model.spec.eosTokenIds, typeof prompt !== "string");
    this.#strip.begin(promptIds(model, prompt));
    this.#detail.clear();
    this.#legend.begin();
    this.#figures.begin();
    showBalance(this.#balance, undefined);
  }

  /** Before the first run of a model: what another one wrote says nothing of it. */
  clear(): void {
    this.#model = undefined;
    this.#tokens.clear();
    this.#strip.begin([]);
    this.#detail.clear();
    this.#legend.begin();
    this.#figures.begin();
    showBalance(this.#balance, undefined);
  }

  append(part: GenerationPart): void {
    this.#tokens.append(part);
    this.#strip.append(part);
    this.#legend.append(part);
    this.#figures.append(part);
  }

  /** @param result undefined when the run failed */
  end(result: GenerationResult | undefined): void {
    this.#tokens.end();
    this.#legend.end();
    if (!result) return;
    this.#figures.end(result);
    showBalance(this.#balance, balance(result, this.#exitLayer));
  }

  #pointAt(round: number): void {
    this.#tokens.highlight(round);
    this.#strip.highlight(round);
    const record = this.#strip.record(round);
    if (!record || !this.#model) {
      this.#detail.clear();
      return;
    }
    const drafts = draftTexts(this.#model, record);
    this.#detail.show(record, drafts);
    this.#strip.describe(round, sentence(record, drafts));
  }
}
