/** The form: what to decode and how. The form's own elements are the only place where the settings are kept. */

import type { Model, SamplingOptions } from "../src/index.ts";
import type { AdapterField } from "./adapter_field.ts";
import { DrafterFields, type DrafterSettings } from "./drafter_fields.ts";
import { autoDrafts, DRAFTERS } from "./drafters.ts";
import { byId } from "./elements.ts";
import { PromptField, type PromptInput } from "./prompt_field.ts";
import { SamplingFields } from "./sampling_fields.ts";

export interface Settings extends PromptInput, DrafterSettings {
  maxTokens: number;
  sampling: SamplingOptions;
}

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
  readonly #drafter: DrafterFields;
  readonly #sampling = new SamplingFields(() => this.#show());
  readonly #maxTokens = byId("max-tokens", HTMLInputElement);
  #model: Model | undefined;

  /** @param adapter what stands below the drafter that has one */
  constructor(adapter: AdapterField) {
    this.#drafter = new DrafterFields(this.form, adapter);
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
    this.#model = model;
    this.#prompt.fit(model);
    this.#drafter.fit(model);
    this.#maxTokens.max = String(model.contextLength - 1);
    this.#maxTokens.value = String(Math.min(DEFAULT_MAX_TOKENS, model.contextLength - 1));
    this.#show();
  }

  read(): Settings {
    return {
      ...this.#prompt.read(),
      ...this.#drafter.read(),
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
    this.#drafter.show(model);
    this.#sampling.show();
    this.#summary.textContent = `${this.#drafter.summary}, ${this.#sampling.summary}`;
  }
}

/** What plain decoding is compared with: what the settings say, or where they say plain, what suits the model. */
export function draftingSettings(model: Model, settings: Settings): Settings {
  if (settings.drafter !== "none" && settings.drafter !== "auto") return settings;
  if (autoDrafts(model)) return { ...settings, drafter: "auto" };
  // Auto would be plain decoding; this one suits models that were not trained to draft.
  return { ...settings, drafter: "recycle", treeSize: DRAFTERS.recycle.tree?.size ?? 1 };
}
