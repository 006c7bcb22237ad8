/** The models of a worker: pages that load the same one with the same options share it; it goes with the last of them. */

import { load } from "../session/load.ts";
import type { Model } from "../session/model.ts";
import type { LoadOptions, ModelSource } from "../types.ts";

interface Shelved {
  loading: Promise<Model>;
  holders: number;
}

export class ModelShelf {
  readonly #models = new Map<string, Shelved>();

  /**
   * A model, loaded unless it is there.
   * @returns how to give it back: when all have, it is disposed of
   * @throws what `load` throws
   */
  async take(source: ModelSource | undefined, options: LoadOptions) {
    const key = keyOf(source, options);
    const found = key === undefined ? undefined : this.#models.get(key);
    const shelved = found ?? { loading: load(source, options), holders: 0 };
    if (key !== undefined) this.#models.set(key, shelved);
    shelved.holders++;
    let released = false;
    const release = async () => {
      if (released) return;
      released = true;
      if (--shelved.holders > 0) return;
      if (key !== undefined && this.#models.get(key) === shelved) this.#models.delete(key);
      await (await shelved.loading).dispose();
    };
    try {
      return { model: await shelved.loading, release };
    } catch (error) {
      // What the first one aborted is loaded anew for those that come.
      if (key !== undefined && this.#models.get(key) === shelved) this.#models.delete(key);
      throw error;
    }
  }
}

/** What makes two loads the same; undefined for what has no name, such as files that were dropped. */
function keyOf(source: ModelSource | undefined, options: LoadOptions): string | undefined {
  if (source !== undefined && typeof source !== "string") return undefined;
  const { signal: _, onProgress: __, onDownload: ___, token: ____, ...named } = options;
  if (Object.values(named).some((value) => typeof value === "object" && value instanceof Blob)) return undefined;
  return JSON.stringify([source ?? null, Object.entries(named).sort(([a], [b]) => (a < b ? -1 : 1))]);
}
