/** The form: what to decode and how. The form's own elements are the only place where the settings are kept. */

import type { DrafterName, Model } from "../src/index.ts";
import { byId } from "./elements.ts";
import { counted } from "./format.ts";
import { LayerDiagram } from "./layer_diagram.ts";
import { PromptField, type PromptInput } from "./prompt_field.ts";

export interface Settings extends PromptInput {
  drafter: DrafterName;
  exitLayer: number;
  draftLength: number;
  maxTokens: number;
}

/** The library drafts up to 31 tokens; beyond about 15 a draft is hardly ever right to its end. */
const LONGEST_DRAFT = 15;
const DEFAULT_MAX_TOKENS = 200;
/** From here on all settings are in sight; below they fold (composer.css). */
const WIDE = matchMedia("(min-width: 56rem)");

export class SettingsForm {
  readonly form = byId("composer", HTMLFormElement);
  readonly #promptFields = byId("prompt-fields", HTMLFieldSetElement);
  readonly #settings = byId("settings", HTMLFieldSetElement);
  readonly #details = byId("settings-details", HTMLDetailsElement);
  readonly #summary = byId("settings-summary", HTMLElement);
  readonly #prompt = new PromptField();
  readonly #maxTokens = byId("max-tokens", HTMLInputElement);
  readonly #exitLayer = byId("exit-layer", HTMLInputElement);
  readonly #exitLayerValue = byId("exit-layer-value", HTMLElement);
  readonly #exitLayerHint = byId("exit-layer-hint", HTMLElement);
  readonly #draftLength = byId("draft-length", HTMLInputElement);
  readonly #draftLengthValue = byId("draft-length-value", HTMLElement);
  readonly #drafters = this.form.elements.namedItem("drafter") as RadioNodeList;
  readonly #diagram = new LayerDiagram(byId("layers", HTMLElement));
  #model: Model | undefined;

  constructor() {
    this.#details.open = WIDE.matches;
    WIDE.addEventListener("change", () => {
      this.#details.open ||= WIDE.matches;
    });
    this.form.addEventListener("input", () => this.#show());
    // A number out of range goes to the nearest that is possible once the field is left.
    this.#maxTokens.addEventListener("change", () => {
      this.#maxTokens.value = String(this.#wantedTokens());
    });
  }

  /** Takes the ranges and the defaults of a model. */
  fit(model: Model): void {
    const { layers } = model.spec;
    const { drafter, exitLayer, draftLength } = model.defaults;
    this.#model = model;
    this.#prompt.fit(model);
    this.#maxTokens.max = String(model.contextLength - 1);
    this.#maxTokens.value = String(Math.min(DEFAULT_MAX_TOKENS, model.contextLength - 1));
    this.#exitLayer.max = String(layers - 1);
    this.#exitLayer.value = String(exitLayer);
    this.#draftLength.max = String(LONGEST_DRAFT);
    this.#draftLength.value = String(Math.min(draftLength, LONGEST_DRAFT));
    this.#drafters.value = drafter;
    this.#show();
  }

  read(): Settings {
    return {
      ...this.#prompt.read(),
      drafter: this.#drafters.value === "none" ? "none" : "layerskip",
      exitLayer: this.#exitLayer.valueAsNumber,
      draftLength: this.#draftLength.valueAsNumber,
      maxTokens: this.#wantedTokens(),
    };
  }

  set enabled(enabled: boolean) {
    this.#promptFields.disabled = !enabled;
    this.#settings.disabled = !enabled;
  }

  #wantedTokens(): number {
    const { min, max, valueAsNumber } = this.#maxTokens;
    const wanted = Number.isFinite(valueAsNumber) ? Math.round(valueAsNumber) : DEFAULT_MAX_TOKENS;
    return Math.min(Number(max), Math.max(Number(min), wanted));
  }

  /** Everything beside the controls that follows from them. */
  #show(): void {
    const model = this.#model;
    if (!model) return;
    this.#prompt.show(model);
    const { drafter, exitLayer, draftLength } = this.read();
    const { layers } = model.spec;
    const drafting = drafter === "layerskip";
    this.#exitLayer.disabled = !drafting;
    this.#draftLength.disabled = !drafting;
    this.#exitLayerValue.textContent = `${exitLayer} of ${layers}`;
    this.#exitLayer.setAttribute("aria-valuetext", `${exitLayer} of ${layers}`);
    this.#draftLengthValue.textContent = String(draftLength);
    this.#exitLayerHint.textContent = drafting
      ? `${counted(exitLayer, "layer")} ${exitLayer === 1 ? "drafts" : "draft"}, the other ${layers - exitLayer} ${layers - exitLayer === 1 ? "verifies" : "verify"}.`
      : `All ${layers} layers run for every token.`;
    this.#diagram.show(layers, drafting ? exitLayer : 0);
    this.#summary.textContent = drafting ? `LayerSkip, exit ${exitLayer}, draft ${draftLength}` : "plain decoding";
  }
}
