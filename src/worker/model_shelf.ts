/** The models of a worker: pages that load the same one with the same options share it; it goes with the last of them. */

import { abortable } from "../abortable.ts";
import { load } from "../session/load.ts";
import type { Model } from "../session/model.ts";
import type { LoadOptions, LoadProgress, ModelSource } from "../types.ts";

interface Shelved {
  loading: Promise<Model>;
  /** Pages that have it, or wait for it. */
  holders: number;
  /** Those that want to hear how far it is, also when it is loaded again (`recover`). */
  readonly listeners: Set<(progress: LoadProgress) => void>;
  /** Ends the load, when nobody waits for it any more. */
  readonly abort: (reason: unknown) => void;
}

export class ModelShelf {
  readonly #models = new Map<string, Shelved>();

  /**
   * A model, loaded unless it is there.
   * @returns how to give it back: when all have, it is disposed of
   * @throws what `load` throws; the signal's reason
   */
  async take(source: ModelSource | undefined, options: LoadOptions) {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const key = keyOf(source, options);
    const shelved = (key !== undefined && this.#models.get(key)) || this.#load(source, options, key);
    shelved.holders++;
    if (onProgress) shelved.listeners.add(onProgress);
    let released = false;
    const release = async () => {
      if (released) return;
      released = true;
      if (onProgress) shelved.listeners.delete(onProgress);
      if (--shelved.holders > 0) return;
      this.#forget(key, shelved);
      await (await shelved.loading).dispose();
    };
    try {
      return { model: await abortable(shelved.loading, signal), release };
    } catch (error) {
      if (onProgress) shelved.listeners.delete(onProgress);
      // Others may still wait for what this page has given up.
      if (--shelved.holders === 0) {
        this.#forget(key, shelved);
        shelved.abort(error);
        shelved.loading.then(
          (model) => model.dispose(),
          () => {},
        );
      }
      throw error;
    }
  }

  #load(source: ModelSource | undefined, options: LoadOptions, key: string | undefined): Shelved {
    const controller = new AbortController();
    const listeners: Shelved["listeners"] = new Set();
    const onProgress = (progress: LoadProgress) => {
      for (const listener of listeners) listener(progress);
    };
    const loading = load(source, { ...options, signal: controller.signal, onProgress });
    const shelved = { loading, holders: 0, listeners, abort: (reason: unknown) => controller.abort(reason) };
    // Who comes next tries again where it failed, or where its device is lost for good.
    loading
      .then((model) => model.ended)
      .finally(() => this.#forget(key, shelved))
      .catch(() => {});
    if (key !== undefined) this.#models.set(key, shelved);
    return shelved;
  }

  #forget(key: string | undefined, shelved: Shelved): void {
    if (key !== undefined && this.#models.get(key) === shelved) this.#models.delete(key);
  }
}

/** What makes two loads the same; undefined for what has no name, such as files that were dropped. */
function keyOf(source: ModelSource | undefined, options: LoadOptions): string | undefined {
  if (source !== undefined && typeof source !== "string") return undefined;
  const { signal: _, onProgress: __, onDownload: ___, token: ____, ...named } = options;
  const { exitAdapter } = named;
  if (typeof exitAdapter === "object") return undefined;
  return JSON.stringify([source ?? null, Object.entries(named).sort(([a], [b]) => (a < b ? -1 : 1))]);
}
