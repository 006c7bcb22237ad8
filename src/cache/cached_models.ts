/** The models in the cache: which there are, and away with them. */

import { isHubReference } from "../sources/hub_reference.ts";
import { cacheEntry, storeOf } from "../sources/open.ts";
import type { CachedModel, ModelSource, SourceOptions } from "../types.ts";
import { manifestsOf, sourceOf, versionsOf } from "./entry.ts";
import type { Store } from "./store.ts";

/** The public `listCached` (src/layerleap.ts). */
export async function listCached(options: Pick<SourceOptions, "cache"> = {}): Promise<CachedModel[]> {
  const store = await storeOf(options);
  if (!store) return [];
  const models: CachedModel[] = [];
  for (const { name: id } of await store.list("")) {
    const source = await sourceOf(store, id);
    if (source === undefined) continue;
    const versions = await versionsOf(store, id);
    if (versions.length === 0) continue; // a name that led to nothing
    const manifests = await manifestsOf(store, versions);
    models.push({
      source,
      files: manifests.length,
      bytes: await sizeOf(store, id),
      complete: manifests.length > 0 && manifests.every(({ manifest }) => manifest.whole),
    });
  }
  return models.sort((a, b) => (a.source < b.source ? -1 : 1));
}

/** The public `removeCached` (src/layerleap.ts). */
export async function removeCached(
  source: ModelSource,
  options: Pick<SourceOptions, "cache" | "endpoint"> = {},
): Promise<boolean> {
  const store = await storeOf(options);
  if (!store) return false;
  const entry = await cacheEntry(source, options);
  // As it is listed: a name on the hub without its revision.
  const name = entry && isHubReference(String(source)) ? entry.source : String(source).replace(/\/$/, "");
  let removed = false;
  for (const { name: id } of await store.list("")) {
    if (id !== entry?.id && (await sourceOf(store, id)) !== name) continue;
    await store.remove(id);
    removed = true;
  }
  return removed;
}

async function sizeOf(store: Store, path: string): Promise<number> {
  let bytes = 0;
  for (const { name, size } of await store.list(path)) bytes += size ?? (await sizeOf(store, `${path}/${name}`));
  return bytes;
}
