/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A loaded model: what `load` returns and everything an app does with it.
 */

import type { PriceShape } from "../decode/controllers/price_features.ts";
import { score } from "../decode/score.ts";
import {
  ContextLengthError,
  DisposedError,
  FileFormatError,
  GpuError,
  GpuMemoryError,
  InputError,
  UnsupportedModelError,
} from "../errors.ts";
import { pagesFor } from "../forward/kv_pages.ts";
import type { DeviceInfo } from "../gpu/device_info.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";
import type { ModelSpec } from "../model/spec.ts";
import { script } from "../scripts.ts";
import type { ChatTemplate } from "../text/chat_template.ts";
import type { TextTokenizer } from "../text/tokenizer.ts";
import type {
  CalibrateOptions,
  Calibration,
  ChatMessage,
  ChatOptions,
  ChatSettings,
  DraftModelOptions,
  ExitAdapterOptions,
  ExitAdapterSource,
  ExitAgreementOptions,
  ExitAgreementResult,
  GenerateOptions,
  KernelOptions,
  KvCacheUse,
  LoadStats,
  MemoryUse,
  ModelDtype,
  ModelSource,
  Prompt,
  ScoreOptions,
  ScoreResult,
  SourceOptions,
} from "../types.ts";
import type { ExitAdapterInfo } from "../weights/exit_adapter.ts";
import type { WantedText } from "./calibration.ts";
import { Chat, type Turn } from "./chat.ts";
import { Controllers } from "./controllers.ts";
import { decodeDraftMemory, encodeDraftMemory } from "./draft_memory.ts";
import type { DraftModel, DraftTarget } from "./draft_model.ts";
import { type GenerationDefaults, generationDefaults } from "./drafting_options.ts";
import type { Engine } from "./engine.ts";
import { EngineSeat } from "./engine_seat.ts";
import { Generation } from "./generation.ts";
import { type AvailableDrafters, ChoiceReader, isMadeForOne, requireGenerateOptions } from "./generation_choices.ts";
import { kernelNames } from "./kernel_options.ts";
import { Lanes } from "./lanes.ts";
import type { LoadMeter } from "./load_progress.ts";
import { LoadedDrafters } from "./loaded_drafters.ts";
import { requireInteger, requireKnown, requireNumber, textsOf } from "./options.ts";
import { priceCache } from "./price_cache.ts";
import { chatIds, chatText, isAnswered, type PromptReader, readPrompt, renderChat } from "./prompt.ts";

/** What `load` has gathered. @internal */
export interface ModelParts {
  name: string;
  spec: ModelSpec;
  /** What computes it. */
  engine: Engine;
  /** It will be told how to make another one (`recoverBy`). */
  recovers: boolean;
  tokenizer: TextTokenizer;
  /** Undefined where the model has none. */
  chatTemplate: ChatTemplate | undefined;
  contextLength: number;
  parameters: number;
  weightBytes: number;
  meter: LoadMeter;
  loadDraftModel: (target: DraftTarget, source: ModelSource, options: DraftModelOptions) => Promise<DraftModel>;
}

/** Prices kept by another version of the library, whose rounds cost something else, are not read. */
const PRICES_VERSION = 2;

/** What fits and measures exits, which few apps do: it comes when it is called for. */
const calibration = () => script(import("./calibration.ts"));

const SCORE_OPTIONS: readonly (keyof ScoreOptions)[] = ["at", "exitLayer", "signal"];

export class Model {
  /** Where it was loaded from. */
  readonly name: string;
  readonly spec: ModelSpec;
  /** Tokens the context holds, prompt included. */
  readonly contextLength: number;
  /** Number of weights. */
  readonly parameters: number;
  /** Bytes of the weights in the checkpoint. */
  readonly weightBytes: number;
  readonly #seat: EngineSeat;
  readonly #tokenizer: TextTokenizer;
  readonly #meter: LoadMeter;
  readonly #prompts: PromptReader;
  readonly #controllers: Controllers;
  readonly #warnings: string[] = [];
  readonly #choices: ChoiceReader;
  readonly #drafters: LoadedDrafters;
  readonly #lanes: Lanes;
  #disposed = false;

  /** @internal Use `load`. */
  constructor(parts: ModelParts) {
    const { name, spec, engine, tokenizer, contextLength, parameters, weightBytes } = parts;
    this.name = name;
    this.spec = spec;
    this.contextLength = contextLength;
    this.parameters = parameters;
    this.weightBytes = weightBytes;
    this.#tokenizer = tokenizer;
    this.#meter = parts.meter;
    this.#prompts = { name, tokenizer, chatTemplate: parts.chatTemplate };
    this.#seat = new EngineSeat(engine);
    this.#drafters = new LoadedDrafters({
      ...{ loadDraftModel: parts.loadDraftModel, recovers: parts.recovers },
      targetOn: ({ device, table, texts }) => {
        const kvBudget = texts.use.capacity;
        return { device, table, tokenizer, contextLength, kvBudget, vocabSize: spec.vocabSize };
      },
    });
    this.#controllers = new Controllers(() => this.#seat.now, spec);
    this.#choices = new ChoiceReader(spec, tokenizer, this.#controllers);
    this.#lanes = new Lanes(engine.pages);
    engine.onAdapter = (adapter) => this.#controllers.adapterChanged(adapter);
  }

  /**
   * Recovers from now on.
   * @param reopen makes an engine as the lost one was, has it `furnished`, and leaves nothing where either fails
   * @internal `load` calls it, when all is there.
   */
  recoverBy(
    reopen: (lost: Engine, signal: AbortSignal, furnish: (engine: Engine) => Promise<void>) => Promise<Engine>,
  ): void {
    this.#seat.recoverBy((lost, signal) => reopen(lost, signal, (engine) => this.#furnish(engine, lost, signal)));
  }

  /** Gives a new engine what drafted on the one that was lost. */
  async #furnish(engine: Engine, lost: Engine, signal: AbortSignal): Promise<void> {
    await this.#drafters.moveTo(engine, lost, signal);
    engine.onAdapter = (each) => this.#controllers.adapterChanged(each);
    if (lost.adapters.info && !engine.adapters.info) this.#controllers.adapterChanged(undefined);
    const [before, now] = [nameOf(lost.device.info), nameOf(engine.device.info)];
    if (before === now) return;
    this.#warnings.push(`the device is ${now} now and was ${before}: texts that went on may have other ids`);
  }

  /** What `generate` does when its options say nothing. */
  get defaults(): GenerationDefaults {
    return generationDefaults(this.spec, this.exitAdapter);
  }

  /** The exit adapter that drafts; undefined where none is loaded. */
  get exitAdapter(): Readonly<ExitAdapterInfo> | undefined {
    return this.#seat.now.adapters.info;
  }

  /** What its weights are held in on the GPU. */
  get dtype(): ModelDtype {
    return this.#seat.now.dtype;
  }

  /** Which variant of each kernel its device got. */
  get kernels(): Readonly<Required<KernelOptions>> {
    return kernelNames(this.#seat.now.kernels);
  }

  /** The adapter it runs on. */
  get device(): DeviceInfo {
    return this.#seat.now.device.info;
  }

  /** Settled when it computes nothing any more: its device was lost for good, or it was disposed. @internal */
  get ended(): Promise<unknown> {
    return this.#seat.ended;
  }

  /** What loading it has cost: time by phase, bytes, and the peak of host memory. */
  get loadStats(): LoadStats {
    return this.#meter.stats();
  }

  /** Buffers held on the GPU; all zero after `dispose`. */
  memory(): MemoryUse {
    return this.#seat.now.device.ledger.report();
  }

  /** What is not used: because this device computes it wrong, or not to the bit, or has not the memory, or because it is not the model's. */
  get warnings(): string[] {
    return [...this.#seat.now.warnings, ...this.#warnings, ...this.#drafters.warnings];
  }

  /** Ids of a text, with the special tokens the tokenizer puts around it (a BOS where it has one). */
  tokenize(text: string): number[] {
    return this.#tokenizer.encode(text);
  }

  /** Text of ids decoded on their own, special tokens left out. */
  decode(ids: readonly number[]): string {
    return this.#tokenizer.decode(ids);
  }

  /** Whether it has a chat template, so that it can be given messages. */
  get chats(): boolean {
    return this.#prompts.chatTemplate !== undefined;
  }

  /**
   * The text that `generate` makes of messages: the model's chat template filled in.
   * @throws InputError when the model has no template, or it refuses the messages; FileFormatError when it is damaged
   */
  renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    return renderChat(this.#prompts, messages, options);
  }

  /**
   * The ids of that text, to be given to `generate` or `score` where the options are not the default ones.
   * @throws InputError when the model has no template, or it refuses the messages; FileFormatError when it is damaged
   */
  chatIds(messages: readonly ChatMessage[], options: ChatOptions = {}): number[] {
    return chatIds(this.#prompts, messages, options);
  }

  /**
   * Compiles what a generation with these options needs, so that its first token does not wait for it. `load` has done so
   * for the defaults; call it after changing `draftLength` where the first round's delay matters.
   * @throws InputError | BusyError | DisposedError | DeviceLostError | GpuError
   */
  async prepare(options: GenerateOptions = {}): Promise<void> {
    await this.#alone(options.signal, async ({ scheduler }) => {
      const { plans, selection } = this.#choices.read(options, [], this.#available);
      await scheduler.prepare(plans, selection);
    });
  }

  /**
   * Prices the rounds that `auto` chooses among, on this device, unless the cache has their prices.
   * @internal `load` calls it, after `prepare`.
   */
  async priceRounds(cache: Pick<SourceOptions, "cache">, signal: AbortSignal | undefined): Promise<void> {
    if (this.defaults.drafter !== "auto") return;
    const { vendor, architecture, description, backend } = this.device;
    const device = { vendor, architecture, description, backend };
    const { name, dtype, kernels, contextLength, exitAdapter } = this;
    try {
      await this.#aloneOn(contextLength, signal, async () => {
        const prices = priceCache(cache, { version: PRICES_VERSION, device, name, dtype, kernels, exitAdapter });
        await this.#controllers.calibrate(this.defaults.exitLayer, contextLength, prices, signal);
      });
    } catch (error) {
      // Rounds that cannot be timed are a generation's trouble, which has an error of its own for it.
      if (!(error instanceof GpuError)) throw error;
    }
  }

  /**
   * Loads a second, smaller model with the same tokenizer onto the same device: give it to `generate` as its `drafter`. It is
   * freed with this model.
   * @param source as in `load`
   * @throws InputError when its tokenizer is another; BusyError while a generation runs; the same errors as `load`
   */
  async loadDraftModel(source: ModelSource, options: DraftModelOptions = {}): Promise<DraftModel> {
    return this.#alone(options.signal, (engine) => this.#drafters.addDraftModel(engine, source, options));
  }

  /**
   * Loads an exit adapter (docs/exit-adapters.md), which makes this model's early exit guess better, in the place of the one before. It
   * drafts from the next `generate` on: `auto` weighs it, and is the default then.
   * @throws InputError when it was made for another model; FileFormatError when it is damaged, UnsupportedModelError when it is of a kind
   * that there is not; SourceError; GpuMemoryError when it does not fit (also not without the one before, which is gone then); GpuError when
   * this device does not compute it; BusyError while a generation runs; DisposedError | DeviceLostError; the signal's reason. But for memory,
   * the one before is still there then.
   */
  async loadExitAdapter(source: ExitAdapterSource, options: ExitAdapterOptions = {}): Promise<ExitAdapterInfo> {
    return this.#alone(options.signal, (engine) => this.#drafters.loadAdapter(engine, source, options));
  }

  /**
   * The same for an adapter that was found, and not asked for: one that cannot be used is a warning.
   * @internal `load` calls it.
   */
  async tryExitAdapter(source: ExitAdapterSource, options: ExitAdapterOptions): Promise<void> {
    try {
      await this.loadExitAdapter(source, options);
    } catch (error) {
      const isUnfit = [InputError, FileFormatError, UnsupportedModelError, GpuError, GpuMemoryError].some(
        (kind) => error instanceof kind,
      );
      if (!isUnfit) throw error;
      this.#warnings.push(`the exit adapter beside the model is not used: ${(error as Error).message}`);
    }
  }

  /** Frees the exit adapter, if there is one. @throws BusyError while a generation runs; DisposedError */
  removeExitAdapter(): void {
    const release = this.#lanes.takeAlone();
    try {
      this.#drafters.removeAdapter(this.#seat.now);
    } finally {
      release();
    }
  }

  /**
   * Fits an exit adapter to this model: a linear map from the hidden state after a layer to that after the last (docs/exit-adapters.md).
   * It is loaded, and returned to be kept. Nothing but its hidden states is learned of the text.
   *
   * It takes a pass over the text: the time of a prompt of so many tokens, and that of writing it where none is given.
   * @throws InputError for too little text, or options that are out of range; BusyError while a generation runs; GpuMemoryError | GpuError;
   * DisposedError | DeviceLostError; the signal's reason. The adapter that was loaded is still there then, but for a GpuMemoryError.
   */
  async calibrate(options: CalibrateOptions = {}): Promise<Calibration> {
    const { calibrate, readCalibrateOptions } = await calibration();
    const request = readCalibrateOptions(options, this.spec.layers);
    const { texts } = request;
    const ids = texts ? texts.map((text) => this.tokenize(text)) : await this.#write(request, options.signal);
    return this.#aloneOn(this.contextLength, options.signal, async (engine) => {
      const text = { texts: ids, begin: this.tokenize("") };
      const calibrated = await calibrate(engine.adapters.target, this.name, text, request, this.#controllers);
      await this.#drafters.loadAdapter(engine, calibrated.bytes, {});
      return calibrated;
    });
  }

  /** Texts of the model's own. */
  async #write(wanted: WantedText, signal: AbortSignal | undefined): Promise<number[][]> {
    const { writeTexts } = await calibration();
    const [first = this.spec.eosTokenIds[0] ?? 0, ...more] = this.tokenize("");
    return writeTexts((prompt, options) => this.generate(prompt, options), [first, ...more], wanted, signal);
  }

  /**
   * How often exits of this model choose what the whole model does, at the positions of a text: what the drafters `layerskip` and `adapter`
   * live on.
   * @throws InputError | BusyError | DisposedError | DeviceLostError | GpuError | the signal's reason
   */
  async exitAgreement(options: ExitAgreementOptions = {}): Promise<ExitAgreementResult> {
    const { measureAgreement, readAgreementOptions } = await calibration();
    const request = readAgreementOptions(options, this.spec.layers);
    const { text } = request;
    const given = typeof text === "string" ? this.tokenize(text) : text;
    const texts = given ? [given] : await this.#write(request, options.signal);
    for (const ids of texts) this.#requireIds("exitAgreement", "text", ids);
    return this.#aloneOn(this.contextLength, options.signal, ({ adapters }) =>
      measureAgreement(adapters.target, texts, request),
    );
  }

  /**
   * What drafting has learned so far, to be given to `loadDraftMemory` another time: 32 bytes an id of the vocabulary. It says
   * nothing of a text but which ids the model held likely after which.
   * @throws BusyError while a generation runs; DisposedError | DeviceLostError | GpuError
   */
  async saveDraftMemory(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#alone(undefined, async ({ scheduler }) => encodeDraftMemory(await scheduler.followers.read()));
  }

  /**
   * Makes drafting begin with what `saveDraftMemory` gave, of a model of the same vocabulary, instead of what it has learned.
   * @throws FileFormatError when the bytes are damaged; InputError when they are another vocabulary's; BusyError; DisposedError;
   * GpuMemoryError
   */
  async loadDraftMemory(bytes: Uint8Array): Promise<void> {
    const memory = decodeDraftMemory(bytes, this.spec.vocabSize);
    await this.#alone(undefined, ({ scheduler }) => scheduler.followers.write(memory));
  }

  /**
   * Generates, greedily if not said otherwise. Iterate it for the stream, or await its `result()`.
   *
   * The ids are those of plain decoding with the same options and seed, whatever the drafter (but with `acceptRule: "ratio"`).
   *
   * @param prompt a text; ids that are taken as they are (no BOS is added); or messages, `{ role, content }` each, which the
   *   model answers
   * @throws InputError when an option or an id is out of range, the prompt has no token, or the messages do not suit the model
   * @throws FileFormatError when the model's chat template is damaged
   * @throws ContextLengthError when the prompt fills the context
   * @throws DisposedError
   *
   * Several may run at a time: rounds of texts that can share a pass are packed into one, and each has the ids that it has alone. One waits
   * for its turn where all 8 lanes are taken, or where there is no room in `kvBudget` for its prompt and `maxTokens` beside the others; where
   * those have paused, since nobody reads on, it throws BusyError after some seconds.
   *
   * Iterating it throws BusyError, DisposedError, DeviceLostError, GpuError and NonFiniteLogitsError; of a model that recovers also what loading it
   * again throws: GpuUnavailableError, SourceError, IntegrityError, CacheFullError, GpuMemoryError.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return this.#generate(prompt, options, undefined);
  }

  /**
   * Begins a conversation. Several may go on at a time, turn by turn: what they have in the cache stays there as far as there is room
   * (`kvBudget` of `load`).
   * @param settings how it begins, what becomes of it where the context is full, and the options of its answers
   * @throws InputError when the model has no chat template, or for a policy that there is not; FileFormatError when it is damaged
   */
  chat(settings: ChatSettings = {}): Chat {
    if (!this.chats) this.renderChat([]); // says so
    const { contextLength } = this;
    const { eosTokenIds } = this.spec;
    return new Chat(
      {
        ...{ contextLength, eosTokenIds },
        text: (options) => chatText(this.#prompts, options),
        generate: (prompt, options, turn) => this.#generate(prompt, options, turn),
      },
      settings,
    );
  }

  /** What the cache of keys and values holds. */
  get kvCache(): KvCacheUse {
    return this.#seat.now.texts.use;
  }

  /** Forgets the keys and values of all texts. @throws BusyError while a generation runs; DisposedError */
  clearKvCache(): void {
    const release = this.#lanes.takeAlone();
    try {
      this.#seat.now.texts.clear();
    } finally {
      release();
    }
  }

  /** What times of rounds are made of, with a second model that drafts. @internal For measurements. */
  priceShape(draftModel?: DraftModel): PriceShape {
    return this.#controllers.priceShape(draftModel?.spec);
  }

  #generate(prompt: Prompt, options: GenerateOptions, turn: Turn | undefined): Generation {
    if (this.#disposed) throw new DisposedError();
    const where = "generate";
    requireGenerateOptions(options);
    const transcript = readPrompt(this.#prompts, prompt);
    const promptIds = transcript.ids;
    if (promptIds.length === 0) {
      throw new InputError({
        file: where,
        field: "prompt",
        found: "no tokens",
        expected: "at least one (this tokenizer adds no BOS to an empty text)",
      });
    }
    this.#requireIds(where, "prompt", promptIds);
    const room = this.contextLength - promptIds.length;
    if (room < 1) throw new ContextLengthError(promptIds.length, this.contextLength);
    const maxTokens = requireInteger(where, "maxTokens", options.maxTokens ?? room, 1, Number.MAX_SAFE_INTEGER);
    let choices = this.#choices.read(options, promptIds, this.#available);
    const { settings } = choices.selection;
    let madeWith = this.exitAdapter;
    let madeFor = this.#seat.now;
    const newTokens = Math.min(maxTokens, room);
    // Rows that are refused take room too.
    const positions = Math.min(this.contextLength, promptIds.length + newTokens + ROW_CAPACITY);
    const pages = pagesFor(positions);
    const alone = isMadeForOne(choices.selection);
    return new Generation(
      {
        tokenizer: this.#tokenizer,
        engine: (signal) => this.#seat.working(signal),
        acquire: (signal) => this.#lanes.take({ pages, alone }, signal),
        positions,
        observe: (outcome) => this.#controllers.observe(choices.selection, outcome),
      },
      {
        prompt: transcript,
        reusesPrompt: options.reusePrompt ?? true,
        turn,
        answers: isAnswered(prompt),
        seed: settings.temperature > 0 ? settings.seed : undefined,
        choices: () => {
          if (this.exitAdapter !== madeWith || this.#seat.now !== madeFor) {
            choices = this.#choices.read(options, promptIds, this.#available, settings);
            [madeWith, madeFor] = [this.exitAdapter, this.#seat.now];
          }
          return choices;
        },
        limits: {
          maxTokens: newTokens,
          contextLength: this.contextLength,
          eosTokenIds: options.ignoreEos ? [] : this.spec.eosTokenIds,
        },
        stop: textsOf(where, "stop", options.stop),
        timeLimitMs: requireNumber(
          where,
          "timeLimitMs",
          options.timeLimitMs ?? Number.POSITIVE_INFINITY,
          0,
          Number.POSITIVE_INFINITY,
        ),
        signal: options.signal,
      },
    );
  }

  /**
   * Logits at given positions of a text, from the full model or from an exit layer.
   * @param ids taken as they are, at most `contextLength`
   * @throws InputError | BusyError | DisposedError | DeviceLostError | GpuError | the signal's reason
   */
  async score(ids: readonly number[], options: ScoreOptions = {}): Promise<ScoreResult> {
    const where = "score";
    requireKnown(where, options, SCORE_OPTIONS);
    requireInteger(where, "number of ids", ids.length, 1, this.contextLength);
    this.#requireIds(where, "ids", ids);
    const at = options.at ?? ids.map((_, position) => position);
    for (const position of at) requireInteger(where, "at", position, 0, ids.length - 1);
    const layers = this.spec.layers;
    const exitLayer = requireInteger(where, "exitLayer", options.exitLayer ?? layers, 1, layers);
    const { signal } = options;
    const logits = await this.#aloneOn(ids.length, signal, ({ device, forward, table }) =>
      score(device, forward, table, { ids, at, exitLayer, signal }),
    );
    return { ids: [...ids], at: [...at], logits };
  }

  /** Frees the GPU. A generation that runs ends with a DisposedError. Safe to call twice. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#lanes.close(new DisposedError());
    this.#seat.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** What drafts now, beside the layers. */
  get #available(): AvailableDrafters {
    return { defaults: this.defaults, adapter: this.exitAdapter, draftModels: this.#drafters.draftModels };
  }

  #requireIds(where: string, field: string, ids: readonly number[]): void {
    for (const [i, id] of ids.entries()) requireInteger(where, `${field}[${i}]`, id, 0, this.spec.vocabSize - 1);
  }

  /** Work while which nothing is generated. @throws BusyError | DisposedError | DeviceLostError; the signal's reason */
  async #alone<T>(signal: AbortSignal | undefined, work: (engine: Engine) => T | Promise<T>): Promise<T> {
    const release = this.#lanes.takeAlone();
    try {
      return await work(await this.#seat.working(signal));
    } finally {
      release();
    }
  }

  /** The same on a text of so many tokens at most that is not kept. */
  #aloneOn<T>(tokens: number, signal: AbortSignal | undefined, work: (engine: Engine) => Promise<T>): Promise<T> {
    return this.#alone(signal, async (engine) => {
      const text = engine.texts.open({ ids: [], generated: [] }, 0, tokens);
      try {
        text.reserve(tokens);
        return await work(engine);
      } finally {
        text.release();
      }
    });
  }
}

/** A device by its name. */
function nameOf({ vendor, architecture, description }: DeviceInfo): string {
  return [vendor, architecture, description].filter(Boolean).join(" ") || "unnamed";
}
