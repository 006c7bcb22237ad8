/** Types of the public surface: what is generated, and how. */

import type { ControllerName } from "../decode/controllers/registry.ts";
import type { HostDrafter } from "../decode/drafters/host_drafter.ts";
import type { DrafterKind, PlanDecision, PlanPrice } from "../decode/plan.ts";
import type { DraftModel } from "../session/draft_model.ts";

/**
 * How a token came to be.
 * - `plain`: the full model computed it with no draft before it (also the first token, from the prefill).
 * - `accepted`: a draft that the full model agreed with.
 * - `correction`: the full model's token where it disagreed with the draft.
 * - `bonus`: the full model's token after a round whose drafts were all accepted.
 */
export type TokenOrigin = "plain" | "accepted" | "correction" | "bonus";

export interface Token {
  id: number;
  /** The text this token added; empty while a character is not complete, and for special tokens. */
  text: string;
  origin: TokenOrigin;
  /** Its log probability under the model's own distribution, before any sampling option; with `logprobs`. */
  logProb?: number;
  /** The most probable tokens at its place, the first one first; with `topLogprobs`. */
  topLogProbs?: TokenLogProb[];
}

export interface TokenLogProb {
  id: number;
  /** The token's text, with the space that it begins with. */
  text: string;
  logProb: number;
}

/** What one draft-verify-accept round did. Plain decoding is a round that drafts nothing. */
export interface Round {
  /** Number of tokens drafted. */
  drafted: number;
  /** How many of them the full model agreed with and that were emitted. */
  accepted: number;
  /**
   * What it was asked: who drafted; the layers that drafted (all of them: plain decoding, none: where no layers draft), and
   * their drafts at most; rows of a tree on top of them, at most.
   */
  drafter: DrafterKind;
  exitLayer: number;
  draftLength: number;
  treeSize: number;
  /**
   * Milliseconds since the generation began when it was submitted (before the round before it was read), when it could begin
   * on the GPU, and when the host had read it.
   */
  submittedMs: number;
  startMs: number;
  endMs: number;
  /** Probability of each draft under the draft's own distribution; with `draftProbabilities`, or where the controller goes by it. */
  draftProbabilities?: number[];
  /** The governor's prices, where it has chosen. */
  decision?: PlanDecision;
}

/** One step of the stream: what one round (or the prefill) emitted. */
export interface GenerationPart {
  /**
   * Text to append. Joined over all parts it continues the prompt exactly, or is the answer to the messages; a character
   * that an abort left unfinished is not shown.
   */
  text: string;
  /** The new ids, in order. An EOS that ends the generation is among them. */
  ids: number[];
  /** The same tokens with their text and how each came. */
  tokens: Token[];
  /** The round, or undefined for the prefill. */
  round?: Round;
  /** The ids that were drafted in this round, accepted or not. */
  draftIds: number[];
  /** The number in `draftIds` of the draft that each of them continues; -1: the text. In a chain, the one before it. */
  draftParents: number[];
}

/**
 * `stop`: an EOS id or a stop string. `length`: `maxTokens` or the context's end. `time`: the time limit. `abort`: the signal,
 * or a loop that was left.
 */
export type FinishReason = "stop" | "length" | "time" | "abort";

/** A plan and the rounds that followed it. */
export interface PlanUse {
  drafter: DrafterKind;
  exitLayer: number;
  draftLength: number;
  treeSize: number;
  rounds: number;
  /** How many of them the governor chose for which reason: `best`, `plain` or `probe`; empty where it did not choose. */
  reasons: Record<string, number>;
}

/** Submissions, readbacks and dispatches are the device's meanwhile: with other texts beside it, theirs too. */
export interface GenerationStats {
  /** New tokens. */
  tokens: number;
  /** Tokens of the prompt, and how many of them were in the cache of keys and values: the others were computed. */
  promptTokens: number;
  reusedTokens: number;
  prefillMs: number;
  decodeMs: number;
  /** Tokens of the decoding rounds per second of decoding (the prefill's token and time left out); 0 without a round. */
  tokensPerSecond: number;
  drafted: number;
  accepted: number;
  /** accepted / drafted; 0 when nothing was drafted. */
  acceptanceRate: number;
  /** The plans that rounds followed, the most used first. */
  plans: PlanUse[];
  /** What the governor compared for the last round; absent where it did not choose. */
  prices?: readonly PlanPrice[];
  /** Queue submissions of the decoding rounds. */
  submits: number;
  /** Buffers read back in the decoding rounds. */
  readbacks: number;
  /** Bytes read back in the decoding rounds. */
  readbackBytes: number;
  /** Compute dispatches of the decoding rounds. */
  dispatches: number;
  /** Queue submissions of the prefill: as many as keep each short on this device. */
  prefillSubmits: number;
  /** Compute pipelines compiled for this model so far. */
  pipelines: number;
  /** Milliseconds spent compiling them. */
  compileMs: number;
  /** How often the device was lost meanwhile, and the text went on on another one (`recover` of `load`). */
  recoveries: number;
}

export interface GenerationResult {
  promptIds: number[];
  /** New ids; an EOS that ended the generation is included. */
  ids: number[];
  /** The new ids decoded on their own, special tokens left out; up to the stop string that ended it. */
  text: string;
  /** What its noise was drawn from; absent where nothing was drawn. The same seed gives the same ids on the same device. */
  seed?: number;
  /** Every new token with its text and how it came. */
  tokens: Token[];
  finishReason: FinishReason;
  /** Every round in order; the prefill is not a round. */
  rounds: Round[];
  stats: GenerationStats;
}

/** One message of a chat. */
export interface ChatMessage {
  /** Who speaks: `system`, `user`, `assistant`, or what else the model's template knows. */
  role: string;
  content: string;
  /** What else the template reads, such as `tool_calls`. */
  [field: string]: unknown;
}

/** A text as the ids that it was made of. A generated token is computed again as it was then, so that the same text follows. */
export interface Transcript {
  readonly ids: readonly number[];
  /** Places [from, to) of the tokens that were generated, ascending; the others were a prompt's. */
  readonly generated: readonly (readonly [from: number, to: number])[];
}

/** A text to continue, ids that are taken as they are, messages to answer, or the transcript of a conversation. */
export type Prompt = string | readonly number[] | readonly ChatMessage[] | Transcript;

export interface ChatOptions {
  /** End with what begins the model's answer; default: true. */
  addGenerationPrompt?: boolean;
  /** Functions that the model may call, as JSON schemas. */
  tools?: readonly object[];
  /** Texts to answer from, for templates that know them. */
  documents?: readonly object[];
  /** Which template, where the model has several. */
  template?: string;
  /** Further variables of the template, such as `enable_thinking`. */
  variables?: Readonly<Record<string, unknown>>;
}

/**
 * What becomes of a conversation that the context has no room for.
 * - `error`: a ContextLengthError, and the conversation is as it was.
 * - `drop-oldest`: the oldest turns are left out; messages of the system's that it begins with stay.
 * - `slide`: the oldest tokens behind those messages are left out, wherever a message ends.
 *
 * Where something is left out, it is so much that some turns more fit: what is behind the cut has to be computed anew.
 */
export type OverflowPolicy = "error" | "drop-oldest" | "slide";

/** What a prompt had to leave out of its conversation. */
export interface LeftOut {
  messages: number;
  tokens: number;
}

/** A conversation: how it begins, and the options of its answers. */
export interface ChatSettings extends GenerateOptions, Omit<ChatOptions, "addGenerationPrompt"> {
  /** What the model is told first, as a message of the role `system`. */
  system?: string;
  /** Messages that there are already, behind that. */
  messages?: readonly ChatMessage[];
  /** Default: `error`. Room for `maxTokens` new tokens is kept, or for a quarter of the context where it is not given. */
  overflow?: OverflowPolicy;
}

/**
 * Who guesses ahead.
 * - `auto`: a governor chooses for each round, plain decoding among its choices.
 * - `none`: plain decoding.
 * - `layerskip`: the model's first layers (Elhoushi et al. 2024, section 4.3).
 * - `adapter`: the model's first layers and an exit adapter, which makes a model's early exit guess better that was not trained for it
 *   (`model.loadExitAdapter`; docs/exit-adapters.md).
 * - `lookup`: what followed the text's last tokens where they stood before (Saxena 2023).
 * - `recycle`: what the model held likely after each token lately (Token Recycling, Luo et al. 2024).
 * - `ouroboros`: the first layers, and behind their last draft what `recycle` would propose (Zhao et al. 2024).
 */
export type DrafterName = "auto" | Exclude<DrafterKind, "model" | "own">;

/**
 * How a token is chosen. Options act in this order: `logitBias`, penalties, `temperature`, `topK`, `topP`, `minP`,
 * `typicalP`; each filter works on what the one before left, and keeps ids that tie with the last one it keeps.
 */
export interface SamplingOptions {
  /**
   * 0: the most probable token, always; filters and `seed` are then without effect. Else at least 0.001. Default: 1 where a
   * filter or a `seed` is given, else 0.
   */
  temperature?: number;
  /** Only the so many most probable tokens; 0: all. */
  topK?: number;
  /** Only the most probable tokens that together have this probability (Holtzman et al. 2020), above 0 to 1. */
  topP?: number;
  /** Only tokens at least this fraction as probable as the most probable one (Nguyen et al. 2024), 0 to 1. */
  minP?: number;
  /** Only the tokens closest to the expected surprise that together have this probability (Meister et al. 2023). */
  typicalP?: number;
  /** Divides positive logits, and multiplies negative ones, of tokens in prompt and new text (Keskar et al. 2019); 1: none. */
  repetitionPenalty?: number;
  /** Taken from a token's logit for each time that it stands in the new text. */
  frequencyPenalty?: number;
  /** Taken from a token's logit if it stands in the new text. */
  presencePenalty?: number;
  /** Added to the logits of ids; -Infinity bans one. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number>;
  /** What noise is drawn from, an integer from 0 to 2^53 - 1. Default: a random one, which the result tells. */
  seed?: number;
}

/**
 * Which drafts are accepted when sampling. `invariant`: those that are the token plain decoding would have drawn, so that no
 * drafter changes the text (Daliri, Musco, Suresh 2024). `ratio`: by the ratio of probabilities (Leviathan et al. 2023; the
 * LayerSkip paper); the distribution is the same, the text depends on the drafter: the same seed gives it again with the same
 * `exitLayer` and `draftLength` and the controller `fixed`, not where a controller goes by times measured. Only with the drafters
 * `layerskip` without a tree and `auto`, whose drafts have a distribution.
 */
export type AcceptRule = "invariant" | "ratio";

export interface GenerateOptions extends SamplingOptions {
  /** At most this many new tokens; by default as many as the context holds. */
  maxTokens?: number;
  /**
   * Who guesses ahead: a name, a second model (`model.loadDraftModel`), or a drafter of your own (docs/drafters.md). Default:
   * `adapter` (with one loaded), else `layerskip`, where `exitLayer`, `draftLength`, `treeSize`, `controller` or `hotVocabulary` is
   * given; else `auto` for checkpoints that were trained for early exit or have an adapter, `none` for others.
   */
  drafter?: DrafterName | DraftModel | HostDrafter;
  /**
   * Exit layer E of the LayerSkip drafter, 1 to layers - 1; without effect on drafter `none`. The controllers `del` and `governor`
   * compare others with it. Default: the checkpoint's
   * recommendation, else a quarter of the layers. An adapter stands behind a layer of its own.
   */
  exitLayer?: number;
  /**
   * Tokens the LayerSkip drafter drafts a round, 1 to 31; without effect on drafter `none`. With other controllers than `fixed`
   * rounds may draft up to 7, or up to this where it is more; `heuristic` begins with it. Default: the checkpoint's
   * recommendation, else 4; 2 for `adapter`.
   */
  draftLength?: number;
  /** Rows of a round's tree at most, 1 to 63, of drafters that make one. Default: the drafter's. */
  treeSize?: number;
  /**
   * Who chooses the plan of each round; without effect on drafter `none`. Drafters of trees, a second model and your own take
   * `fixed` and `governor`. Default: `fixed`.
   */
  controller?: ControllerName;
  /**
   * Drafts choose among so many ids alone: the most frequent ones and the prompt's own (FR-Spec, Zhao et al. 2025). The text
   * stays the same; a draft reads less of the head and misses what is rare. 0: among all. Default: 0. Without effect on drafter
   * `none`; not with `acceptRule: "ratio"`, which needs the draft's whole distribution.
   */
  hotVocabulary?: number;
  /** Default: `invariant`. */
  acceptRule?: AcceptRule;
  /**
   * Tell how probable each draft was, in `round.draftProbabilities`, where layers drafted it. It takes four dispatches more a draft. Default: where the
   * controller goes by them.
   */
  draftProbabilities?: boolean;
  /** Tell each token's log probability. */
  logprobs?: boolean;
  /** Tell so many of the most probable tokens at each place, 0 to 20; implies `logprobs`. */
  topLogprobs?: number;
  /** Go on past EOS. */
  ignoreEos?: boolean;
  /**
   * Take keys and values that are in the cache, of this text's beginning; default: true. The text is the same either way: `false` is for
   * measuring what a prompt costs.
   */
  reusePrompt?: boolean;
  /**
   * Ends before the first of these texts; it may span tokens. The text does not show it, `ids` end with the token that
   * completed it.
   */
  stop?: string | readonly string[];
  /** Ends after the round that is under way then. Counted from the first token on. */
  timeLimitMs?: number;
  /** Stops between rounds; the generation then ends with `finishReason: "abort"` and keeps what it has. */
  signal?: AbortSignal;
}

export interface ScoreOptions {
  /** Positions whose logits are wanted; default: all. */
  at?: readonly number[];
  /** Logits of exit layer E (hidden state after E layers, final norm, head) instead of the full model's. */
  exitLayer?: number;
  signal?: AbortSignal;
}

export interface ScoreResult {
  ids: number[];
  at: number[];
  /** One row of `vocabSize` logits for each entry of `at`. */
  logits: Float32Array[];
}
