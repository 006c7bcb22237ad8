/** How tokens are chosen: temperature, filters and seed. What is left empty is left to the library. */

import type { SamplingOptions } from "../src/index.ts";
import { byId } from "./elements.ts";
import type { Settings } from "./settings.ts";

type FieldName = "temperature" | "topP" | "seed" | "topK" | "minP" | "repetitionPenalty";

/** Seeds that the page draws: short enough to be told somebody. */
const SEEDS = 1e6;

interface Field {
  id: string;
  /** In the summary. */
  words: string;
  /** Without effect where the most probable token is taken. */
  draws: boolean;
}

const FIELDS: Readonly<Record<FieldName, Field>> = {
  temperature: { id: "temperature", words: "temperature", draws: false },
  topP: { id: "top-p", words: "top-p", draws: true },
  topK: { id: "top-k", words: "top-k", draws: true },
  minP: { id: "min-p", words: "min-p", draws: true },
  repetitionPenalty: { id: "repetition-penalty", words: "repetition penalty", draws: false },
  seed: { id: "seed", words: "seed", draws: true },
};
const NAMES = Object.keys(FIELDS) as FieldName[];

export class SamplingFields {
  readonly #inputs = new Map(NAMES.map((name) => [name, byId(FIELDS[name].id, HTMLInputElement)]));
  readonly #summary = byId("sampling-summary", HTMLElement);
  readonly #hint = byId("sampling-hint", HTMLElement);
  readonly #seedLine = byId("seed-line", HTMLElement);
  readonly #lastSeed = byId("last-seed", HTMLElement);

  /** @param onChange called when a value was set, not typed */
  constructor(onChange: () => void) {
    byId("keep-seed", HTMLButtonElement).addEventListener("click", () => {
      const seed = this.#inputs.get("seed");
      if (!seed) return;
      seed.value = this.#lastSeed.textContent ?? "";
      seed.focus();
      onChange();
    });
  }

  /** As they were typed: the library says what is wrong with them. */
  read(): SamplingOptions {
    const options: SamplingOptions = { temperature: this.#temperature };
    for (const [name, input] of this.#inputs) {
      if (name === "temperature" || isEmpty(input) || (this.#isGreedy && FIELDS[name].draws)) continue;
      options[name] = input.valueAsNumber;
    }
    return options;
  }

  /** What follows from the values. */
  show(): void {
    for (const [name, input] of this.#inputs) input.disabled = this.#isGreedy && FIELDS[name].draws;
    this.#summary.textContent = this.summary;
    this.#hint.textContent = this.#isGreedy
      ? "At 0 the most probable token is taken, always. Above, tokens are drawn; 1 is as the model has it."
      : "The same seed gives the same text, whatever the drafter.";
    this.#showSeedLine();
  }

  showSeed(seed: number | undefined): void {
    this.#lastSeed.textContent = String(seed ?? "");
    this.#showSeedLine();
  }

  /** There where the page draws seeds, and has drawn one. */
  #showSeedLine(): void {
    const { seed, temperature } = this.read();
    this.#seedLine.hidden = temperature === 0 || seed !== undefined || this.#lastSeed.textContent === "";
  }

  /** "greedy", "temperature 0.8, top-p 0.9". */
  get summary(): string {
    const set = Object.entries(this.read()).filter(([name]) => !(name === "temperature" && this.#isGreedy));
    const words = set.map(([name, value]) => `${FIELDS[name as FieldName].words} ${value}`);
    return [...(this.#isGreedy ? ["greedy"] : []), ...words].join(", ");
  }

  get #temperature(): number {
    const input = this.#inputs.get("temperature");
    return !input || isEmpty(input) ? 0 : input.valueAsNumber;
  }

  get #isGreedy(): boolean {
    return this.#temperature === 0;
  }
}

/** The settings with a seed where tokens are drawn and none was given: a run can then be repeated. */
export function seeded(settings: Settings): Settings {
  const { sampling } = settings;
  if (sampling.temperature === 0 || sampling.seed !== undefined) return settings;
  return { ...settings, sampling: { ...sampling, seed: Math.floor(Math.random() * SEEDS) } };
}

function isEmpty({ value, validity }: HTMLInputElement): boolean {
  return value === "" && !validity.badInput;
}
