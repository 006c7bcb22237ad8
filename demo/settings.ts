/** The form: what to decode and how. The form's own elements are the only place where the settings are kept. */

import type { DrafterName, Model, SamplingOptions } from "../src/index.ts";
import { byId } from "./elements.ts";
import { counted } from "./format.ts";
import { LayerDiagram } from "./layer_diagram.ts";
import { PromptField, type PromptInput } from "./prompt_field.ts";
import { SamplingFields } from "./sampling_fields.ts";

export interface Settings extends PromptInput {
  drafter: DrafterName;
  exitLayer: number;
  draftLength: number;
  maxTokens: number;
  sampling: SamplingOptions;
}

export const DRAFTER_NAMES: Readonly<Record<DrafterName, string>> = {
  auto: "Auto",
  layerskip: "LayerSkip",
  lookup: "Lookup",
  recycle: "Recycling",
  ouroboros: "Ouroboros",
  none: "Plain",
};

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
  readonly #sampling = new SamplingFields(() => this.#show());
  readonly #maxTokens = byId("max-tokens", HTMLInputElement);
  readonly #drafterHint = byId("drafter-hint", HTMLElement);
  readonly #exitLayerField = byId("exit-layer-field", HTMLElement);
  readonly #draftLengthField = byId("draft-length-field", HTMLElement);
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
      drafter: this.#drafters.value as DrafterName,
      exitLayer: this.#exitLayer.valueAsNumber,
      draftLength: this.#draftLength.valueAsNumber,
      maxTokens: this.#wantedTokens(),
      sampling: this.#sampling.read(),
    };
  }

  /** Offers to draw from the same seed again. */
  showSeed(seed: number | undefined): void {
    this.#sampling.showSeed(seed);
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
    const isFixed = drafter === "layerskip";
    const others = layers - exitLayer;
    this.#drafterHint.hidden = isFixed;
    this.#drafterHint.textContent = drafterHint(model, drafter);
    this.#exitLayerField.hidden = !isFixed;
    this.#draftLengthField.hidden = !isFixed;
    this.#exitLayerValue.textContent = `${exitLayer} of ${layers}`;
    this.#exitLayer.setAttribute("aria-valuetext", `${exitLayer} of ${layers}`);
    this.#draftLengthValue.textContent = String(draftLength);
    this.#exitLayerHint.textContent = `${counted(exitLayer, "layer")} ${exitLayer === 1 ? "drafts" : "draft"}, the other ${others} ${others === 1 ? "verifies" : "verify"}.`;
    this.#diagram.show(layers, exitLayer);
    this.#sampling.show();
    const drafterWords = isFixed ? `LayerSkip, exit ${exitLayer}, draft ${draftLength}` : DRAFTER_NAMES[drafter];
    this.#summary.textContent = `${drafterWords}, ${this.#sampling.summary}`;
  }
}

/** What plain decoding is compared with: what the settings say, or where they say plain, what suits the model. */
export function draftingDrafter({ spec }: Model, { drafter }: Settings): DrafterName {
  if (drafter === "layerskip") return drafter;
  return spec.layerSkip ? "auto" : "layerskip"; // auto would be plain decoding
}

function drafterHint({ spec }: Model, drafter: DrafterName): string {
  if (drafter === "none") return `All ${spec.layers} layers run for every token.`;
  if (!spec.layerSkip) return "This model was not trained to draft for itself, so Auto decodes plainly.";
  return "Chooses for each round how many tokens to draft and from which layer, or none, by the times it measures.";
}
