/** What is loaded to draft for a model, beside its own layers: an exit adapter and draft models. When the device is lost they are loaded again. */

import { DeviceLostError } from "../errors.ts";
import type { DraftModelOptions, ExitAdapterOptions, ExitAdapterSource, ModelSource, SourceOptions } from "../types.ts";
import type { ExitAdapterInfo } from "../weights/exit_adapter.ts";
import type { DraftModel, DraftTarget } from "./draft_model.ts";
import type { Engine } from "./engine.ts";

export interface LoadedDraftersParts {
  loadDraftModel: (target: DraftTarget, source: ModelSource, options: DraftModelOptions) => Promise<DraftModel>;
  /** What a draft model of the engine is made for. */
  targetOn: (engine: Engine) => DraftTarget;
  /** The model recovers: where things are from is kept in mind. */
  recovers: boolean;
}

/** Loads something once more, onto an engine. */
type Again<T> = (engine: Engine, signal: AbortSignal) => Promise<T>;

export class LoadedDrafters {
  readonly #parts: LoadedDraftersParts;
  readonly #draftModels = new Map<DraftModel, Again<DraftModel> | undefined>();
  #adapterAgain: Again<ExitAdapterInfo> | undefined;
  readonly #lost: string[] = [];

  constructor(parts: LoadedDraftersParts) {
    this.#parts = parts;
  }

  get draftModels(): Pick<ReadonlySet<DraftModel>, "has"> {
    return this.#draftModels;
  }

  /** What drafts no more, or cannot use all of the device. */
  get warnings(): string[] {
    const own = [...this.#draftModels.keys()].flatMap(({ name, warnings }) =>
      warnings.map((each) => `${name}: ${each}`),
    );
    return [...this.#lost, ...own];
  }

  /** @throws the errors of `Model.loadDraftModel` */
  async addDraftModel(engine: Engine, source: ModelSource, options: DraftModelOptions): Promise<DraftModel> {
    const { loadDraftModel, targetOn, recovers } = this.#parts;
    const draftModel = await loadDraftModel(targetOn(engine), source, options);
    const { dtype } = draftModel;
    const named = dtype === "stored" ? {} : { dtype }; // as it is held, where that has a name
    const again: Again<DraftModel> = (other, signal) =>
      loadDraftModel(targetOn(other), source, { ...lasting(options), ...named, signal });
    this.#draftModels.set(draftModel, recovers ? again : undefined);
    return draftModel;
  }

  /** Puts an adapter in the place of the one before. @throws the errors of `Model.loadExitAdapter` */
  async loadAdapter(
    { adapters }: Engine,
    source: ExitAdapterSource,
    options: ExitAdapterOptions,
  ): Promise<ExitAdapterInfo> {
    const info = await adapters.load(source, options);
    if (this.#parts.recovers) {
      // Bytes are the caller's, who may change them.
      const kept = source instanceof Uint8Array ? new Blob([source as Uint8Array<ArrayBuffer>]) : source;
      this.#adapterAgain = (other, signal) => other.adapters.load(kept, { ...lasting(options), signal });
    }
    return info;
  }

  removeAdapter({ adapters }: Engine): void {
    adapters.remove();
    this.#adapterAgain = undefined;
  }

  /**
   * Loads all of it onto the engine that takes the place of one that is lost. What cannot be had again is gone, and a warning: it only drafted.
   * @throws DeviceLostError; the signal's reason
   */
  async moveTo(engine: Engine, lost: Engine, signal: AbortSignal): Promise<void> {
    const adapterAgain = lost.adapters.info && this.#adapterAgain;
    if (adapterAgain) await this.#orWithout("the exit adapter", () => adapterAgain(engine, signal), signal);
    const moved = new Map<DraftModel, DraftModel | undefined>();
    for (const [draftModel, again] of this.#draftModels) {
      const load = async () => again?.(engine, signal);
      moved.set(draftModel, await this.#orWithout(`the draft model ${draftModel.name}`, load, signal));
    }
    signal.throwIfAborted();
    // From here on nothing is waited for. An adapter may have been removed meanwhile.
    if (engine.adapters.info && !this.#adapterAgain) engine.adapters.remove();
    for (const [draftModel, other] of moved) {
      if (other) draftModel.moveTo(other);
      else this.#draftModels.delete(draftModel);
    }
  }

  /** What `load` gives; undefined where it cannot be had, which is a warning then. */
  async #orWithout<T>(what: string, load: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    try {
      return await load();
    } catch (error) {
      if (signal.aborted || error instanceof DeviceLostError) throw error;
      this.#lost.push(`${what} is not used any more, it could not be loaded again: ${(error as Error).message}`);
      return undefined;
    }
  }
}

/** Options that hold for another load too. */
function lasting<T extends SourceOptions & { signal?: AbortSignal }>({ signal: _, onDownload: __, ...options }: T) {
  return options;
}
