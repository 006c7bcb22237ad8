/** Types of the public surface that describe a generation. */

import type { ControllerName } from "./decode/controllers/registry.ts";
import type { HostDrafter } from "./decode/drafters/host_drafter.ts";
import type { DrafterKind, PlanDecision, PlanPrice } from "./decode/plan.ts";
import type { DeviceInfo } from "./gpu/device_info.ts";
import type { DraftModel } from "./session/draft_model.ts";
import type { DirectoryHandle } from "./sources/directory_handle.ts";
import type { Folder } from "./weights/source.ts";

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

export interface GenerationStats {
  /** New tokens. */
  tokens: number;
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

/** A text to continue, ids that are taken as they are, or messages to answer. */
export type Prompt = string | readonly number[] | readonly ChatMessage[];

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
export type DrafterName = "auto" | "none" | "layerskip" | "adapter" | "lookup" | "recycle" | "ouroboros";

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

/**
 * What a load is at. Files that come over the network are downloaded while their weights are uploaded, so these two alternate.
 * - `download`: files are fetched, or found in the cache.
 * - `read`: settings, tokenizer and the headers of the weight files are read.
 * - `upload`: weights go to the GPU, which lays out, rounds or quantises them.
 * - `compile`: kernels are compiled and tried.
 */
export type LoadPhase = "download" | "read" | "upload" | "compile";

export interface LoadProgress {
  phase: LoadPhase;
  /** Bytes of this phase so far, of `totalBytes`; 0 of 0 where it has none. */
  loadedBytes: number;
  totalBytes: number;
  /** Of the last seconds; absent until it can be told. */
  bytesPerSecond?: number;
  secondsLeft?: number;
}

/** What a load has cost. */
export interface LoadStats {
  seconds: number;
  /** Of them, by phase. */
  phaseSeconds: Readonly<Record<LoadPhase, number>>;
  /** Bytes that came over the network, and from the cache. */
  fetchedBytes: number;
  cachedBytes: number;
  /** The most that JavaScript held meanwhile, buffers included (Chrome: the heap); absent where that is not told. */
  hostPeakBytes?: number;
}

/** What is known of a model before it is downloaded. */
export interface ModelCheck {
  name: string;
  /** Whether this version runs it. */
  supported: boolean;
  /** Why not. */
  reason?: string;
  /** Hugging Face `model_type`. */
  family?: string;
  parameters?: number;
  /** Whether its checkpoint was trained for LayerSkip. */
  layerSkip?: boolean;
  /** The adapter it would run on; absent where there is none. */
  device?: DeviceInfo;
  /** Of a model on a server: bytes of its weight files, how many of them were in the cache, and whether what comes is kept. */
  download?: { totalBytes: number; cachedBytes: number; kept: boolean };
  /** Tokens of the context that the memory is counted for. */
  contextLength?: number;
  /** GPU memory that weights and context take in each data type, and what there seems to be where there is a device. */
  memory?: { neededBytes: Partial<Record<ModelDtype, number>>; availableBytes?: number };
  /** What `dtype: "auto"` would choose on the device. */
  recommendedDtype?: ModelDtype;
}

export interface CheckOptions extends SourceOptions {
  /** Tokens of the context that memory is counted for. Default: as for `load`. */
  contextLength?: number;
  /** The WebGPU entry point, a `GPU`; default: `navigator.gpu`, in Node the `webgpu` package's. */
  gpu?: GpuProvider;
  /** As for `load`: what the cache of keys and values is held in changes what a context takes. */
  kernels?: KernelOptions;
  signal?: AbortSignal;
}

/** A `GPU` of the WebGPU API, told without its types: not every TypeScript project has them. */
export interface GpuProvider {
  requestAdapter(options?: object): Promise<object | null>;
}

/**
 * What a model's matrices are held in on the GPU. Everything is computed in f32.
 * - `f32`: as the checkpoint has them, exactly. 4 bytes an element.
 * - `f16`: rounded to nearest. 2 bytes; exact for checkpoints in f16.
 * - `q8`: 8-bit codes, a scale for each 32. 1.06 bytes.
 * - `q4`: 4-bit codes, a scale for each 32, in the layers; embedding and head as in `q8`, for their quality. 0.56 bytes.
 */
export type Dtype = "f32" | "f16" | "q8" | "q4";

/** What a loaded model is held in: one of these, or as stored: block codes exactly as a GGUF file has them. */
export type ModelDtype = Dtype | "stored";

/**
 * Variants of kernels, to force one where the device's own choice is not wanted: for tests, measurements, and devices that
 * compute something wrong. All but `int8` and `f16` give the same results within f32's rounding.
 */
export interface KernelOptions {
  /**
   * Few-row matmul: a thread an output, or so many threads share one, lanes of a subgroup or threads of a workgroup. A
   * subgroup must have at least as many lanes.
   */
  fewRows?: "thread" | `${"subgroup" | "workgroup"}:${4 | 8 | 16}`;
  /** Matmul of prompts. `int8` quantises the prompt's activations: faster where there are integer dot products, other ids. */
  manyRows?: "thread" | "tiles" | "int8";
  /** Attention of generated rows. */
  attention?: "threads" | "workgroup";
  /** Attention of prompts. */
  promptAttention?: "threads" | "tiles";
  /** Type of the KV cache. `f16` takes half the memory; ids may differ from those with `f32`. */
  kv?: "f32" | "f16";
}

/** Where a file's bytes have come from so far. A file whose size only its end tells grows. */
export interface DownloadProgress {
  /** Path inside the model. */
  file: string;
  /** Its size in bytes. */
  size: number;
  /** Bytes that came over the network. */
  fetched: number;
  /** Bytes that were in the cache. */
  cached: number;
}

/**
 * An access token of the hub, for gated and private repositories, or what gives one for a repository (`owner/name`). It is
 * sent to the endpoint alone, not where that redirects to, and kept nowhere.
 */
export type AccessToken = string | ((repo: string) => string | undefined | Promise<string | undefined>);

export interface CacheOptions {
  /** The folder (Node). Default: `LAYERLEAP_CACHE`, else the system's folder for caches. */
  folder?: string;
  /**
   * When there is no room for a file: fail with a `CacheFullError` (default), or go on without storing it. What is not stored
   * is checked for its size and version, not for its SHA-256.
   */
  whenFull?: "error" | "uncached";
}

/** A model in the cache. */
export interface CachedModel {
  /** What to load it by. Of a URL the query is left out. */
  source: string;
  files: number;
  /** Bytes it takes. */
  bytes: number;
  /** Whether all files that were begun are there whole. */
  complete: boolean;
}

/** How a model on a server is reached. */
export interface SourceOptions {
  /**
   * Hub that `hf:` names are looked up at: a mirror must answer `/api/models/NAME/revision/REVISION` and
   * `/NAME/resolve/REVISION/FILE` as it does. Default: https://huggingface.co, in Node `HF_ENDPOINT`.
   */
  endpoint?: string | URL;
  token?: AccessToken;
  /** Where downloads, and what rounds cost on this device, are kept; false: nowhere. Default: in the browser's storage, in Node in the folder for caches. */
  cache?: boolean | CacheOptions;
  /** Told what has been downloaded, or found in the cache. */
  onDownload?: (progress: DownloadProgress) => void;
}

export interface PullOptions extends SourceOptions {
  /** Told how far the download is, over all files: its phase is `download`. */
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}

export interface LoadOptions extends SourceOptions {
  /**
   * Tokens the context holds, prompt included. Default: the smaller of the model's limit and 4,096. A model whose positions are
   * scaled by the text's length (LongRoPE, `dynamic`) scales them by this length, for all texts alike.
   */
  contextLength?: number;
  /**
   * What the weights are held in on the GPU. Default: `auto`, which keeps the block codes of a GGUF file and holds floats in
   * the largest type that this device seems to have memory for; `model.dtype` tells which.
   */
  dtype?: Dtype | "auto";
  /**
   * An exit adapter to draft with; `false`: none. Default: the file `exit-adapter.safetensors` in the model's folder, where there is
   * one and the place can tell (a plain web server cannot).
   */
  exitAdapter?: ExitAdapterSource | false;
  /** The WebGPU entry point, a `GPU`; default: `navigator.gpu`, in Node the `webgpu` package's. */
  gpu?: GpuProvider;
  /** Forces variants of kernels; default: the best that this device computes right with. */
  kernels?: KernelOptions;
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}

/** How a second model is loaded that drafts; as in `LoadOptions`. */
export interface DraftModelOptions extends SourceOptions {
  dtype?: Dtype | "auto";
  signal?: AbortSignal;
}

/**
 * Where a model is: `hf:owner/name[@revision][/file.gguf or folder]` on the Hugging Face hub; a URL, or in Node a path, of a
 * folder or of one .gguf file; files that were dropped or picked (`File`, `Blob`, `FileList`); a directory's handle; or a
 * `Folder` of your own.
 */
export type ModelSource = string | URL | Blob | ArrayLike<Blob> | DirectoryHandle | Folder;

/** Where an exit adapter is: as a model, or its file, or the bytes of it. */
export type ExitAdapterSource = ModelSource | Uint8Array;

/** How an exit adapter is reached. */
export interface ExitAdapterOptions extends SourceOptions {
  signal?: AbortSignal;
}

/** Buffers a model holds on the GPU. */
export interface MemoryUse {
  buffers: number;
  bytes: number;
  /** Bytes by owner: `weights`, `kv`, `activations`, ... */
  byOwner: Record<string, number>;
}

/** How an exit adapter is fitted to a model. */
export interface CalibrateOptions {
  /**
   * What to fit it on: text like that which will be generated. Default: text that the model writes itself.
   */
  text?: string | readonly string[];
  /** Layer to exit after, 1 to layers - 1. Default: the one of some that promises most for its price. */
  exitLayer?: number;
  /** Tokens of the text that are used at most, a fifth of them to try the maps on. Default: 4,096. */
  maxTokens?: number;
  /** Seed of the text that the model writes. Default: 0. */
  seed?: number;
  onProgress?: (progress: CalibrationProgress) => void;
  signal?: AbortSignal;
}

/**
 * What a calibration is at. `write`: the model writes the text; `collect`: the text goes through the model; `solve`: maps are fitted;
 * `test`: they are tried on the rest of the text.
 */
export interface CalibrationProgress {
  phase: "write" | "collect" | "solve" | "test";
  /** Share of the phase that is done, 0 to 1. */
  done: number;
}

/** An exit layer that was compared. */
export interface CalibratedExit {
  exitLayer: number;
  /** Share of the test's positions where the exit chooses what the whole model does: by itself, and with the fitted map. */
  plainAgreement: number;
  agreement: number;
  /** Tokens of plain decoding in the time of one, at best, by what rounds cost here or, where nothing was timed, by weights. */
  speedup: number;
}

/** A fitted exit adapter. */
export interface Calibration {
  /** The adapter's file, for `loadExitAdapter` or the option `exitAdapter` of `load`. It is loaded already. */
  bytes: Uint8Array<ArrayBuffer>;
  exitLayer: number;
  exits: CalibratedExit[];
  /** Tokens that maps were fitted on, and tried on. */
  tokens: number;
  testTokens: number;
}

export interface ExitAgreementOptions {
  /** A text, or ids that are taken as they are. Default: text that the model writes itself. */
  text?: string | readonly number[];
  /** Tokens of it that are used at most. Default: 256. */
  maxTokens?: number;
  /** Exit layers, ascending. Default: all. */
  exitLayers?: readonly number[];
  /** Position from which on exits are compared. Default: 0. */
  from?: number;
  /** Seed of the text that the model writes. Default: 0. */
  seed?: number;
  /** Told the share that is done, 0 to 1. */
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

/** How often exits choose what the whole model does, at the positions of a text. */
export interface ExitAgreementResult {
  positions: number;
  exits: { exitLayer: number; agreement: number }[];
  /** Of the exit adapter, where one is loaded. */
  adapter?: { exitLayer: number; agreement: number };
}
