/** What a caller's options make of a generation: who drafts and plans its rounds, and how ids are selected. */

import type { SelectionRequest } from "../decode/selection/selections.ts";
import { InputError } from "../errors.ts";
import { TOP_CAPACITY } from "../kernels/constants.ts";
import type { SamplingSettings } from "../kernels/sampling.ts";
import type { ModelSpec } from "../model/spec.ts";
import { frequentIds, hotIds } from "../text/hot_ids.ts";
import type { TextTokenizer } from "../text/tokenizer.ts";
import type { AcceptRule, GenerateOptions } from "../types.ts";
import type { Controllers } from "./controllers.ts";
import type { DraftModel } from "./draft_model.ts";
import { type Drafting, type DraftingAdapter, type GenerationDefaults, readDrafting } from "./drafting_options.ts";
import type { GenerationChoices } from "./generation.ts";
import { requireChoice, requireInteger, requireKnown } from "./options.ts";
import { readSampling, SAMPLING_OPTIONS } from "./sampling_options.ts";

const WHERE = "generate";
const ACCEPT_RULES: readonly AcceptRule[] = ["invariant", "ratio"];

const GENERATE_OPTIONS: readonly (keyof GenerateOptions)[] = [
  "maxTokens",
  "drafter",
  "exitLayer",
  "draftLength",
  "treeSize",
  "controller",
  "hotVocabulary",
  "acceptRule",
  "draftProbabilities",
  "logprobs",
  "topLogprobs",
  "ignoreEos",
  "reusePrompt",
  "stop",
  "timeLimitMs",
  "signal",
  ...SAMPLING_OPTIONS,
];

/** @throws InputError for an option that there is not */
export function requireGenerateOptions(options: GenerateOptions): void {
  requireKnown(WHERE, options, GENERATE_OPTIONS);
}

/** What drafts for a model now, beside its own layers. */
export interface AvailableDrafters {
  defaults: GenerationDefaults;
  adapter: DraftingAdapter | undefined;
  draftModels: Pick<ReadonlySet<DraftModel>, "has">;
}

export class ChoiceReader {
  readonly #spec: ModelSpec;
  readonly #tokenizer: TextTokenizer;
  readonly #controllers: Controllers;
  /** Ids by how frequent they are, once they have been asked for. */
  #frequentIds: number[] | undefined;

  constructor(spec: ModelSpec, tokenizer: TextTokenizer, controllers: Controllers) {
    this.#spec = spec;
    this.#tokenizer = tokenizer;
    this.#controllers = controllers;
  }

  /**
   * @param settings as they were read before: a seed is drawn once
   * @throws InputError naming the option, what was found and what was expected
   */
  read(
    options: GenerateOptions,
    promptIds: readonly number[],
    { defaults, adapter, draftModels }: AvailableDrafters,
    settings: SamplingSettings = readSampling(WHERE, options, this.#spec.vocabSize),
  ): GenerationChoices {
    const drafting = readDrafting(WHERE, this.#spec, defaults, options, adapter);
    const { drafter, model, own, treeSize } = drafting;
    if (model && !draftModels.has(model)) {
      const [found, expected] = ["a draft model of another model", "one that this model's loadDraftModel gave"];
      throw new InputError({ file: WHERE, field: "drafter", found, expected });
    }
    const acceptRule = requireChoice(WHERE, "acceptRule", options.acceptRule ?? "invariant", ACCEPT_RULES);
    const { logprobs = false, topLogprobs = logprobs ? 0 : undefined } = options;
    const controllers = this.#controllers;
    const selection: SelectionRequest = {
      settings,
      promptIds,
      acceptRule: settings.temperature > 0 ? acceptRule : "invariant", // without noise they are the same
      probabilities: controllers.needProbabilities(drafting, options.draftProbabilities),
      branches: (drafter === "layerskip" || drafter === "adapter") && treeSize > 0,
      hotIds: this.#hotIds(options, drafting, promptIds),
      draftModel: model?.forward,
      learns: controllers.learns(drafting),
      topLogProbs:
        topLogprobs === undefined ? undefined : requireInteger(WHERE, "topLogprobs", topLogprobs, 0, TOP_CAPACITY),
    };
    return {
      plans: controllers.plans(drafting),
      controller: () => controllers.create(drafting, selection),
      selection,
      drafter: own,
    };
  }

  /** The ids that drafts choose among; undefined: all. */
  #hotIds(
    { hotVocabulary = 0, acceptRule }: GenerateOptions,
    { controller }: Drafting,
    promptIds: readonly number[],
  ): Uint32Array<ArrayBuffer> | undefined {
    const { vocabSize, eosTokenIds } = this.#spec;
    const size = requireInteger(WHERE, "hotVocabulary", hotVocabulary, 0, Number.MAX_SAFE_INTEGER);
    if (size > 0 && acceptRule === "ratio") {
      const expected = "0 with acceptRule 'ratio', which needs the draft's whole distribution";
      throw new InputError({ file: WHERE, field: "hotVocabulary", found: String(size), expected });
    }
    if (size === 0 || size >= vocabSize || controller === undefined) return undefined;
    this.#frequentIds ??= frequentIds(this.#tokenizer, vocabSize);
    return hotIds(this.#frequentIds, { promptIds, eosTokenIds, size });
  }
}

/** Whether what a generation makes on the device is made for one text at a time: a head of its hot ids, a second model, the ratio rule. */
export function isMadeForOne({ hotIds, draftModel, acceptRule }: SelectionRequest): boolean {
  return hotIds !== undefined || draftModel !== undefined || acceptRule === "ratio";
}
