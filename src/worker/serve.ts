/** What a worker offers to pages: to load models, and all that a model, a generation and a chat can do. */

import { listCached, removeCached } from "../cache/cached_models.ts";
import type { HostDrafter } from "../decode/drafters/host_drafter.ts";
import { InputError } from "../errors.ts";
import type { Chat } from "../session/chat.ts";
import { check } from "../session/check.ts";
import type { Generation } from "../session/generation.ts";
import type { Model } from "../session/model.ts";
import { pull } from "../session/pull.ts";
import type {
  CalibrateOptions,
  ChatSettings,
  DraftModelOptions,
  ExitAdapterOptions,
  ExitAdapterSource,
  ExitAgreementOptions,
  GenerateOptions,
  GenerationPart,
  LoadOptions,
  ModelSource,
  Prompt,
  ScoreOptions,
} from "../types.ts";
import { Host, type HostObjects, type Methods } from "./host.ts";
import type { ModelShelf } from "./model_shelf.ts";
import { type PageMessage, ROOT, servedLock, type WorkerMessage } from "./wire.ts";

/** What is fixed when a model is loaded, or says what has changed since. */
export type ModelFacts = ReturnType<typeof factsOf>;

/** Options as they cross: a drafter of one's own is the module that has it. */
type SentOptions = Omit<GenerateOptions, "drafter"> & { drafter?: GenerateOptions["drafter"] | { module: string } };

/**
 * Serves a page.
 * @param post to the page
 * @param shelf models, which several pages may share
 * @returns the page's objects, to be given its messages
 */
export function serve(post: (message: WorkerMessage) => void, shelf: ModelShelf): Host {
  const host = new Host(post);
  host.add(ROOT, rootMethods(host, shelf), undefined);
  return host;
}

function rootMethods(host: Host, shelf: ModelShelf): Methods {
  return {
    /** The page holds a lock of this name while it lives. */
    liveWith: async (lock: string) => {
      const { locks } = globalThis.navigator;
      void locks.request(lock, () => host.close());
      // And the worker one that the page waits for, so that it hears when the worker ends.
      await new Promise<void>((held) => {
        void locks.request(servedLock(lock), () => {
          held();
          return new Promise<void>((resolve) => host.gone.addEventListener("abort", () => resolve(), { once: true }));
        });
      });
    },
    load: async (handle: number, source: ModelSource | undefined, options: LoadOptions) => {
      const { model, release } = await shelf.take(source, whileThere(host, options));
      host.add(handle, modelMethods(host, model, release), model, () => void release());
      return factsOf(model);
    },
    check: (source: ModelSource | undefined, options: object) => check(source, options),
    pull: (source: string, options: object) => pull(source, options),
    listCached,
    removeCached,
  };
}

function factsOf(model: Model) {
  const { name, spec, contextLength, dtype, kernels, parameters, weightBytes, defaults, device, loadStats } = model;
  const { chats, exitAdapter, warnings } = model;
  return {
    ...{ name, spec, contextLength, dtype, kernels, parameters, weightBytes, defaults, device, loadStats },
    ...{ chats, exitAdapter, warnings },
  };
}

function modelMethods(host: Host, model: Model, release: () => Promise<void>): Methods {
  type M = Model;
  return {
    facts: () => factsOf(model),
    memory: () => model.memory(),
    kvCache: () => model.kvCache,
    clearKvCache: () => model.clearKvCache(),
    tokenize: (text: string) => model.tokenize(text),
    decode: (ids: number[]) => model.decode(ids),
    renderChat: (...args: Parameters<M["renderChat"]>) => model.renderChat(...args),
    chatIds: (...args: Parameters<M["chatIds"]>) => model.chatIds(...args),
    score: (ids: number[], options: ScoreOptions) => model.score(ids, whileThere(host, options)),
    calibrate: (options: CalibrateOptions) => model.calibrate(whileThere(host, options)),
    exitAgreement: (options: ExitAgreementOptions) => model.exitAgreement(whileThere(host, options)),
    loadExitAdapter: (source: ExitAdapterSource, options: ExitAdapterOptions) =>
      model.loadExitAdapter(source, whileThere(host, options)),
    removeExitAdapter: () => model.removeExitAdapter(),
    saveDraftMemory: () => model.saveDraftMemory(),
    loadDraftMemory: (bytes: Uint8Array) => model.loadDraftMemory(bytes),
    prepare: async (options: SentOptions) => model.prepare(await received(options)),
    loadDraftModel: async (handle: number, source: ModelSource, options: DraftModelOptions) => {
      const draftModel = await model.loadDraftModel(source, whileThere(host, options));
      host.add(handle, {}, draftModel);
      const { name, spec, dtype, parameters, warnings } = draftModel;
      return { name, spec, dtype, parameters, warnings };
    },
    generate: async (handle: number, prompt: Prompt, options: SentOptions) => {
      return addGeneration(host, handle, model.generate(prompt, await received(options)));
    },
    chat: async (handle: number, settings: ChatSettings & SentOptions) => {
      return addChat(host, handle, model.chat(await received(settings)));
    },
    dispose: () => release(),
  };
}

function addGeneration(host: HostObjects, handle: number, generation: Generation): object {
  const parts = generation[Symbol.asyncIterator]();
  const methods: Methods = {
    next: () => parts.next(),
    result: () => generation.result(),
    /** The parts that nobody has taken. */
    rest: async () => {
      const rest: GenerationPart[] = [];
      for (let step = await parts.next(); !step.done; step = await parts.next()) rest.push(step.value);
      return rest;
    },
    end: () => generation[Symbol.asyncDispose](),
  };
  host.add(handle, methods, generation, () => void generation[Symbol.asyncDispose]());
  const { prompt, seed } = generation;
  return { prompt, seed };
}

function addChat(host: HostObjects, handle: number, chat: Chat): object {
  const facts = () => ({ messages: chat.messages, leftOut: chat.leftOut });
  host.add(
    handle,
    {
      facts,
      transcript: () => chat.transcript(),
      send: async (turn: number, message: Parameters<Chat["send"]>[0], options: SentOptions) =>
        addGeneration(host, turn, chat.send(message, await received(options))),
      edit: async (turn: number, index: number, message: Parameters<Chat["edit"]>[1], options: SentOptions) =>
        addGeneration(host, turn, chat.edit(index, message, await received(options))),
      regenerate: async (turn: number, options: SentOptions) =>
        addGeneration(host, turn, chat.regenerate(await received(options))),
      branch: (branch: number) => addChat(host, branch, chat.branch()),
    },
    chat,
  );
  return facts();
}

/** Options of work that ends when the page is gone. */
function whileThere<T extends { signal?: AbortSignal }>({ gone }: Host, options: T): T {
  return { ...options, signal: options.signal ? AbortSignal.any([options.signal, gone]) : gone };
}

/** Options with the drafter of a module in the place of its address. */
async function received<T extends SentOptions>({
  drafter,
  ...options
}: T): Promise<Omit<T, "drafter"> & GenerateOptions> {
  if (drafter === undefined) return options;
  if (typeof drafter !== "object" || !("module" in drafter)) return { ...options, drafter };
  return { ...options, drafter: await drafterOf(drafter.module) };
}

/**
 * The drafter that a module exports: by the name behind `#`, else its default. An object that drafts, a class, or a function that gives
 * one.
 * @throws InputError where it is none of them
 */
async function drafterOf(address: string): Promise<HostDrafter> {
  const url = new URL(address);
  const name = url.hash.slice(1) || "default";
  url.hash = "";
  const module: Record<string, unknown> = await import(/* @vite-ignore */ /* webpackIgnore: true */ url.href);
  const exported = module[name];
  const made: unknown = isClass(exported)
    ? new exported()
    : typeof exported === "function"
      ? await exported()
      : exported;
  if (typeof made === "object" && made !== null && "propose" in made) return made as HostDrafter;
  const expected = "an object with a method propose, a class of such, or a function that gives one";
  throw new InputError({ file: address, field: `export ${name}`, found: typeof exported, expected });
}

function isClass(value: unknown): value is new () => unknown {
  return typeof value === "function" && typeof value.prototype?.propose === "function";
}

/** Messages of a page, to its objects. */
export function receiver(host: Host): (event: { data: PageMessage }) => void {
  return ({ data }) => host.receive(data);
}
