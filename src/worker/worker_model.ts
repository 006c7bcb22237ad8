/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A model that a worker holds: the page computes nothing. All that is fixed at load is there at once, as in `Model`; all else is asked for.
 */

import type { ModelSpec } from "../model/spec.ts";
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
  KvCacheUse,
  MemoryUse,
  ModelDtype,
  ModelSource,
  Prompt,
  ScoreOptions,
  ScoreResult,
} from "../types.ts";
import type { ExitAdapterInfo } from "../weights/exit_adapter.ts";
import type { Handle, Remote } from "./remote.ts";
import { sentSource } from "./sent_source.ts";
import type { ModelFacts } from "./serve.ts";
import { type ChatFacts, WorkerChat } from "./worker_chat.ts";
import { type GenerationFacts, WorkerGeneration } from "./worker_generation.ts";
import { sentOptions, type WorkerGenerateOptions } from "./worker_options.ts";

/** A second model in the worker, to be given to `generate` as its `drafter`. */
export interface WorkerDraftModel extends Handle {
  readonly name: string;
  readonly spec: ModelSpec;
  readonly dtype: ModelDtype;
  readonly parameters: number;
  readonly warnings: readonly string[];
}

/** How a conversation begins, and the options of its answers. */
export type WorkerChatSettings = Omit<ChatSettings, "drafter"> & Pick<WorkerGenerateOptions, "drafter">;

export class WorkerModel {
  readonly #remote: Remote;
  readonly #handle: number;
  readonly #facts: ModelFacts;
  readonly #close: () => void;

  /** @internal Use `load`. @param close ends the worker, or this page's use of it */
  constructor(remote: Remote, handle: number, facts: ModelFacts, close: () => void) {
    this.#remote = remote;
    this.#handle = handle;
    this.#facts = facts;
    this.#close = close;
  }

  /** Where it was loaded from. */
  get name(): ModelFacts["name"] {
    return this.#facts.name;
  }

  get spec(): ModelFacts["spec"] {
    return this.#facts.spec;
  }

  /** Tokens the context holds, prompt included. */
  get contextLength(): ModelFacts["contextLength"] {
    return this.#facts.contextLength;
  }

  /** What its weights are held in on the GPU. */
  get dtype(): ModelFacts["dtype"] {
    return this.#facts.dtype;
  }

  /** Which variant of each kernel this device got. */
  get kernels(): ModelFacts["kernels"] {
    return this.#facts.kernels;
  }

  /** Number of weights. */
  get parameters(): ModelFacts["parameters"] {
    return this.#facts.parameters;
  }

  /** Bytes of the weights in the checkpoint. */
  get weightBytes(): ModelFacts["weightBytes"] {
    return this.#facts.weightBytes;
  }

  /** The adapter it runs on. */
  get device(): ModelFacts["device"] {
    return this.#facts.device;
  }

  /** What loading it has cost. */
  get loadStats(): ModelFacts["loadStats"] {
    return this.#facts.loadStats;
  }

  /** Whether it has a chat template, so that it can be given messages. */
  get chats(): ModelFacts["chats"] {
    return this.#facts.chats;
  }

  /** What `generate` does when its options say nothing. */
  get defaults(): Promise<ModelFacts["defaults"]> {
    return this.#now().then(({ defaults }) => defaults);
  }

  /** The exit adapter that drafts; undefined where none is loaded. */
  get exitAdapter(): Promise<Readonly<ExitAdapterInfo> | undefined> {
    return this.#now().then(({ exitAdapter }) => exitAdapter);
  }

  /** As `Model.warnings`. */
  get warnings(): Promise<string[]> {
    return this.#now().then(({ warnings }) => warnings);
  }

  /** What the cache of keys and values holds. */
  get kvCache(): Promise<KvCacheUse> {
    return this.#call("kvCache");
  }

  /** Buffers held on the GPU. */
  memory(): Promise<MemoryUse> {
    return this.#call("memory");
  }

  /** As `Model.clearKvCache`. */
  clearKvCache(): Promise<void> {
    return this.#call("clearKvCache");
  }

  /** Ids of a text, with the special tokens the tokenizer puts around it. */
  tokenize(text: string): Promise<number[]> {
    return this.#call("tokenize", text);
  }

  /** Text of ids decoded on their own, special tokens left out. */
  decode(ids: readonly number[]): Promise<string> {
    return this.#call("decode", ids);
  }

  /** As `Model.renderChat`. */
  renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<string> {
    return this.#call("renderChat", messages, options);
  }

  /** As `Model.chatIds`. */
  chatIds(messages: readonly ChatMessage[], options: ChatOptions = {}): Promise<number[]> {
    return this.#call("chatIds", messages, options);
  }

  /** As `Model.generate`; what that throws, iterating throws. */
  generate(prompt: Prompt, options: WorkerGenerateOptions = {}): WorkerGeneration {
    const handle = this.#remote.newHandle();
    const sent = sentOptions(options);
    const made = this.#remote.create(handle, this.#handle, "generate", prompt, sent) as Promise<GenerationFacts>;
    return new WorkerGeneration(this.#remote, handle, made);
  }

  /** As `Model.chat`; what that throws, its turns throw. */
  chat(settings: WorkerChatSettings = {}): WorkerChat {
    const handle = this.#remote.newHandle();
    const { system, messages = [], signal } = settings;
    const { signal: _, ...sent } = settings;
    const begin = [...(system === undefined ? [] : [{ role: "system", content: system }]), ...messages];
    const made = this.#remote.create(handle, this.#handle, "chat", sentOptions(sent)) as Promise<ChatFacts>;
    return new WorkerChat(this.#remote, handle, made, { messages: begin, leftOut: { messages: 0, tokens: 0 } }, signal);
  }

  /** As `Model.score`. */
  score(ids: readonly number[], options: ScoreOptions = {}): Promise<ScoreResult> {
    return this.#call("score", ids, options);
  }

  /** As `Model.prepare`. */
  prepare(options: WorkerGenerateOptions = {}): Promise<void> {
    return this.#call("prepare", sentOptions(options));
  }

  /** As `Model.loadDraftModel`. */
  async loadDraftModel(source: ModelSource, options: DraftModelOptions = {}): Promise<WorkerDraftModel> {
    const handle = this.#remote.newHandle();
    const facts = await this.#call<Omit<WorkerDraftModel, "handle">>(
      ...(["loadDraftModel", handle, sentSource(source), options] as const),
    );
    return { ...facts, handle };
  }

  /** As `Model.loadExitAdapter`. */
  loadExitAdapter(source: ExitAdapterSource, options: ExitAdapterOptions = {}): Promise<ExitAdapterInfo> {
    return this.#call("loadExitAdapter", source instanceof Uint8Array ? source : sentSource(source), options);
  }

  /** As `Model.removeExitAdapter`. */
  removeExitAdapter(): Promise<void> {
    return this.#call("removeExitAdapter");
  }

  /** As `Model.calibrate`. */
  calibrate(options: CalibrateOptions = {}): Promise<Calibration> {
    return this.#call("calibrate", options);
  }

  /** As `Model.exitAgreement`. */
  exitAgreement(options: ExitAgreementOptions = {}): Promise<ExitAgreementResult> {
    return this.#call("exitAgreement", options);
  }

  /** As `Model.saveDraftMemory`. */
  saveDraftMemory(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#call("saveDraftMemory");
  }

  /** As `Model.loadDraftMemory`. */
  loadDraftMemory(bytes: Uint8Array): Promise<void> {
    return this.#call("loadDraftMemory", bytes);
  }

  /** Frees the GPU, and ends the worker. Safe to call twice. */
  async dispose(): Promise<void> {
    try {
      await this.#call("dispose");
    } catch {
      // It is gone already.
    }
    this.#close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  #now(): Promise<ModelFacts> {
    return this.#call("facts");
  }

  #call<T>(method: string, ...args: unknown[]): Promise<T> {
    return this.#remote.call(this.#handle, method, ...args) as Promise<T>;
  }
}
