/**
 * What an app begins with. The scripts that do it come when it is called: a page that has loaded no model yet has not downloaded what runs one.
 */

import { load } from "./load.ts";
import { script } from "./scripts.ts";
import type { CachedModel, CheckOptions, ModelCheck, ModelSource, PullOptions, SourceOptions } from "./types.ts";

/**
 * Says whether a model can be run and what it would take. Only settings, tokenizer and headers are fetched.
 * @param source as for `load`
 * @throws SourceError when the model is not there or cannot be reached; InputError for an option that there is not, or a
 * context that the model or the device does not have; the signal's reason. A model that is damaged or of an unknown kind is no
 * error here: the answer says so.
 */
export async function check(source?: ModelSource, options: CheckOptions = {}): Promise<ModelCheck> {
  return (await script(import("./session/check.ts"))).check(source, options);
}

/**
 * Fetches the files that a load of this model needs, unless they are in the cache, and checks them. A model that this version
 * cannot run is refused before its weights are fetched.
 *
 * @returns bytes that came over the network, and bytes that were in the cache
 * @throws SourceError when it cannot be reached or read; CacheFullError when there is no room; IntegrityError when a file is
 * not the one that was published; FileFormatError | UnsupportedModelError when it cannot be loaded; InputError for a model that
 * is not downloaded at all, or an option that there is not; the signal's reason
 */
export async function pull(
  source: ModelSource,
  options: PullOptions = {},
): Promise<{ fetchedBytes: number; cachedBytes: number }> {
  return (await script(import("./session/pull.ts"))).pull(source, options);
}

/**
 * All models in the cache, by name.
 * @throws SourceError when the cache cannot be read
 */
export async function listCached(options: Pick<SourceOptions, "cache"> = {}): Promise<CachedModel[]> {
  return (await script(import("./cache/cached_models.ts"))).listCached(options);
}

/**
 * Removes all that is cached of a model, all its revisions.
 * @param source as it was loaded, or as `listCached` names it
 * @throws SourceError when the cache cannot be written; InputError for an endpoint that is no URL
 * @returns whether there was anything
 */
export async function removeCached(
  source: ModelSource,
  options: Pick<SourceOptions, "cache" | "endpoint"> = {},
): Promise<boolean> {
  return (await script(import("./cache/cached_models.ts"))).removeCached(source, options);
}

/**
 * The same under one name.
 * - `load`: a model onto the GPU, to generate and to chat with.
 * - `check`: whether a model runs here, and in how much memory, before it is downloaded.
 * - `pull`, `listCached`, `removeCached`: downloads.
 */
export const LayerLeap = { load, check, pull, listCached, removeCached } as const;
