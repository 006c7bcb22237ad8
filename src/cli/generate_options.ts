/** The options of `layerleap generate`: their help, which exclude each other, and what they ask of the library. */

import { type Command, InvalidArgumentError, Option } from "commander";
import type { AcceptRule, DrafterName, DraftModel, GenerateOptions } from "../index.ts";
import type { LoadFlags } from "./load.ts";
import { biases, CONTROLLERS, integers, number, positiveInteger, seconds, texts, wholeNumber } from "./options.ts";
import { UsageError } from "./report.ts";

type Shared =
  | "exitLayer"
  | "draftLength"
  | "treeSize"
  | "controller"
  | "acceptRule"
  | "hotVocabulary"
  | "temperature"
  | "topK"
  | "topP"
  | "minP"
  | "typicalP"
  | "repetitionPenalty"
  | "frequencyPenalty"
  | "presencePenalty"
  | "seed"
  | "logprobs"
  | "topLogprobs"
  | "ignoreEos";

export interface GenerateFlags extends LoadFlags, Pick<GenerateOptions, Shared> {
  ids?: number[];
  chat?: boolean;
  system?: string;
  maxTokens: number;
  stop?: string[];
  /** Seconds. */
  timeLimit?: number;
  logitBias?: Map<number, number>;
  json?: boolean;
  trace?: string;
  /** A drafter's name, or `model:` and where a second model is. */
  drafter?: string;
  draftMemory?: string;
}

const DRAFTERS: readonly DrafterName[] = ["auto", "none", "layerskip", "adapter", "lookup", "recycle", "ouroboros"];
/** Those that draw on what was learned; auto does on stock models. */
const RECYCLING = ["recycle", "ouroboros", "auto"];
/** What begins a drafter that is a model. */
const MODEL = "model:";
const ACCEPT_RULES: readonly AcceptRule[] = ["invariant", "ratio"];

/** Adds what `generate` has beyond the options of every command that loads a model. */
export function addGenerateOptions(command: Command): Command {
  return command
    .optionsGroup("Prompt and end:")
    .option("--ids <list>", "token ids to continue instead of a PROMPT, as they are: no BOS is added", integers)
    .option("--chat", "PROMPT is what a user says: the model's chat template goes around it, and the model answers")
    .option("--system <text>", "what the model is told before, as a system message; implies --chat")
    .option("--max-tokens <n>", "at most so many new tokens", positiveInteger, 256)
    .option("--stop <text>", "end before this text; may be repeated", texts)
    .option("--time-limit <seconds>", "end after the round under way then, counted from the first token", seconds)
    .option("--ignore-eos", "go on past the end of the text")

    .optionsGroup("Sampling (default: the most probable token, always):")
    .option("--temperature <n>", "0: no sampling (default: 1 with a filter or a seed, else 0)", number)
    .option("--top-k <n>", "only the so many most probable tokens; 0: all", wholeNumber)
    .option("--top-p <n>", "only the most probable tokens that together have this probability", number)
    .option("--min-p <n>", "only tokens at least this fraction as probable as the most probable one", number)
    .option("--typical-p <n>", "only the tokens closest to the expected surprise that together have it", number)
    .option("--repetition-penalty <n>", "divides logits of tokens in prompt and new text; 1: none", number)
    .option("--frequency-penalty <n>", "taken from a token's logit for each time that it is in the new text", number)
    .option("--presence-penalty <n>", "taken from a token's logit if it is in the new text", number)
    .option("--logit-bias <id=n>", "added to the logit of a token id, -inf bans it; may be repeated", biases)
    .option("--seed <n>", "the same seed gives the same text on the same device (default: a random one)", wholeNumber)

    .optionsGroup("Drafting:")
    .addOption(
      new Option(
        "--drafter <name>",
        `who guesses ahead: ${DRAFTERS.join(", ")}, or model:SOURCE, a smaller model with the same tokenizer; see docs/drafters.md (default: auto, where a governor decides each round, for checkpoints trained for LayerSkip and with an exit adapter, else none; with any other option of drafting layerskip, or adapter where there is one)`,
      ).argParser(drafterName),
    )
    .option(
      "--exit-layer <n>",
      "layers that draft, 1 to all but one; del and governor choose among others too (default: the checkpoint's own, else a quarter; an adapter stands behind its own)",
      positiveInteger,
    )
    .option(
      "--draft-length <n>",
      "tokens drafted a round; what heuristic begins with (default: the checkpoint's own, else 4; 2 for adapter)",
      positiveInteger,
    )
    .option(
      "--tree-size <n>",
      "rows of a round's tree: of lookup, recycle and ouroboros, and second choices of layerskip and adapter (default: the drafter's own)",
      positiveInteger,
    )
    .option("--draft-memory <file>", "what recycle and ouroboros have learned: read where it is, written at the end")
    .addOption(
      new Option(
        "--controller <name>",
        "who plans each round, see docs/controllers.md; trees take fixed and governor (default: fixed)",
      ).choices(CONTROLLERS),
    )
    .option(
      "--hot-vocabulary <n>",
      "drafts choose among the n most frequent ids and the prompt's own (default: among all)",
      positiveInteger,
    )
    .addOption(
      new Option(
        "--accept-rule <name>",
        "which drafts sampling accepts; with ratio the text depends on the drafter (default: invariant)",
      ).choices(ACCEPT_RULES),
    )

    .optionsGroup("Output:")
    .option("--json", "one JSON object on stdout instead of text: ids, text, rounds, stats, device")
    .option("--logprobs", "each token's log probability, in --json")
    .option("--top-logprobs <n>", "and the so many most probable tokens at its place, at most 20", wholeNumber)
    .option(
      "--trace <file>",
      "write what each round did, one JSON object a line; it takes time of its own to tell how probable drafts were",
    );
}

/** @throws UsageError for options that exclude each other */
export function checkGenerateFlags(prompt: string | undefined, flags: GenerateFlags): void {
  const { ids, chat, system, drafter, json, logprobs, topLogprobs } = flags;
  if (prompt === undefined && !ids) throw new UsageError('give a PROMPT or --ids, as in: layerleap generate "Once"');
  if (prompt !== undefined && ids) throw new UsageError("PROMPT and --ids exclude each other: leave one out");
  if (ids && (chat || system !== undefined)) {
    throw new UsageError("--ids are taken as they are: leave out --chat and --system, or give a PROMPT");
  }
  if (drafter === "none" && (flags.exitLayer ?? flags.draftLength) !== undefined) {
    const drafting = flags.exitLayer === undefined ? "--draft-length" : "--exit-layer";
    throw new UsageError(`${drafting} is for a drafter: leave it out, or --drafter none`);
  }
  if (flags.draftMemory !== undefined && !RECYCLING.includes(drafter ?? "")) {
    throw new UsageError(`--draft-memory is of recycling: add --drafter ${RECYCLING.join(" or ")}`);
  }
  if (flags.treeSize !== undefined && (drafter === "none" || drafter === "auto")) {
    throw new UsageError(`--tree-size is for a drafter of trees: leave it out, or --drafter ${drafter}`);
  }
  if (flags.hotVocabulary !== undefined && drafter === "none") {
    throw new UsageError("--hot-vocabulary is for a drafter: leave it out, or --drafter none");
  }
  if (flags.controller !== undefined && (drafter === "none" || drafter === "auto")) {
    throw new UsageError(`--controller is for another --drafter than ${drafter}: leave out one of the two`);
  }
  if (!json && (logprobs || topLogprobs !== undefined)) {
    throw new UsageError(`${logprobs ? "--logprobs" : "--top-logprobs"} is shown in JSON: add --json`);
  }
}

/** @throws InvalidArgumentError for what is neither a drafter's name nor a model */
function drafterName(value: string): string {
  const isModel = value.startsWith(MODEL) && value.length > MODEL.length;
  if (isModel || (DRAFTERS as readonly string[]).includes(value)) return value;
  throw new InvalidArgumentError(`Allowed choices are ${DRAFTERS.join(", ")}, ${MODEL}SOURCE.`);
}

/** Where the second model is that drafts; undefined: none does. */
export function draftModelSource({ drafter }: GenerateFlags): string | undefined {
  return drafter?.startsWith(MODEL) ? drafter.slice(MODEL.length) : undefined;
}

/**
 * What the flags ask of `model.generate`.
 * @param draftModel the model that `draftModelSource` names
 */
export function generateOptions(flags: GenerateFlags, draftModel?: DraftModel): GenerateOptions {
  const { maxTokens, exitLayer, draftLength, treeSize, controller, acceptRule, hotVocabulary } = flags;
  const drafter = draftModel ?? (flags.drafter as DrafterName | undefined);
  const { temperature, topK, topP, minP, typicalP, seed } = flags;
  const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias } = flags;
  const { logprobs, topLogprobs, ignoreEos, stop, timeLimit } = flags;
  return {
    ...{ maxTokens, drafter, exitLayer, draftLength, treeSize, controller, acceptRule, hotVocabulary },
    ...{ temperature, topK, topP, minP, typicalP, seed },
    ...{ repetitionPenalty, frequencyPenalty, presencePenalty, logitBias },
    ...(flags.trace !== undefined && { draftProbabilities: true }),
    ...{ logprobs, topLogprobs, ignoreEos, stop, timeLimitMs: timeLimit === undefined ? undefined : timeLimit * 1000 },
  };
}
