/** From what a caller names to the files of a model. */

import { defaultModel, hubEndpoint, locate, openFolder, openStore } from "#platform";
import { cachedFolder, isUnreachable } from "../cache/cached_folder.ts";
import { CacheEntry } from "../cache/entry.ts";
import { type Store, StoreFullError } from "../cache/store.ts";
import { FileFormatError, InputError } from "../errors.ts";
import { quote } from "../json.ts";
import type { CacheOptions, ModelSource, SourceOptions } from "../types.ts";
import type { Folder } from "../weights/source.ts";
import { directFolder } from "./direct_folder.ts";
import { directoryFolder, isDirectoryHandle } from "./directory_handle.ts";
import { type Http, shown } from "./exchange.ts";
import { fileList } from "./file_list.ts";
import { httpRemote } from "./http_folder.ts";
import { type HubListing, hubHttp, hubListing, hubRemote, isCommit, listingJson, readListing } from "./hub.ts";
import { HUB, type HubReference, hubReferenceOf, isHubReference, parseHubReference } from "./hub_reference.ts";
import type { RemoteFolder } from "./remote.ts";
import { ONCE, PATIENT } from "./retry.ts";

/**
 * The files of the model that `source` names; by default the one of the package. Names on the hub and URLs go through the
 * cache. Await `verified` of the folder before anything made of its bytes is handed out.
 *
 * @throws SourceError when there is no such model, or it cannot be reached, or may not be read
 * @throws InputError for an endpoint that is no URL, a URL with a password, a source of none of these kinds, or cache options that
 * there are not; the signal's reason
 */
export async function openSource(
  source: ModelSource | undefined,
  options: SourceOptions & { signal?: AbortSignal } = {},
  retry = PATIENT,
): Promise<Folder> {
  options.signal?.throwIfAborted();
  const { whenFull } = cacheOptions(options);
  // The package's own model is small, and lies beside the script that is being run.
  if (source === undefined) return openFolder(defaultModel());
  if (!isLocation(source)) return ownFolder(source);
  const place = placeOf(source, options);
  if (place.kind === "folder") return place.folder;
  const entry = await entryOf(place, options);
  const remote = await remoteOf(place, entry, options, retry);
  if (entry) {
    return cachedFolder(remote, entry, { uncachedWhenFull: whenFull === "uncached", onDownload: options.onDownload });
  }
  return uncached(remote, options);
}

/** What is cached of the model that `source` names; undefined where nothing can be. */
export async function cacheEntry(source: ModelSource, options: SourceOptions): Promise<CacheEntry | undefined> {
  if (!isLocation(source)) return undefined;
  const place = placeOf(source, options);
  return place.kind === "folder" ? undefined : entryOf(place, options);
}

function isLocation(source: ModelSource): source is string | URL {
  return typeof source === "string" || source instanceof URL;
}

/** A folder of what the caller holds. */
function ownFolder(source: Exclude<ModelSource, string | URL>): Folder {
  if (source instanceof Blob) return fileList([source]);
  if (typeof source === "object" && source !== null) {
    if ("open" in source) return source;
    if (isDirectoryHandle(source)) return directoryFolder(source);
    const files = "length" in source ? Array.from(source) : [];
    if ("length" in source && files.every((file) => file instanceof Blob)) return fileList(files);
  }
  const expected = "a name, a URL, files, a directory's handle or a Folder";
  throw new InputError({ file: "load", field: "source", found: String(source), expected });
}

/** Where a location points. */
type Place =
  | { kind: "folder"; folder: Folder }
  | { kind: "url"; url: URL }
  | { kind: "hub"; endpoint: URL; reference: HubReference };

/** @throws SourceError when it points nowhere; InputError for an endpoint that is no URL, or a URL with a password */
function placeOf(source: string | URL, options: SourceOptions): Place {
  const endpoint = endpointOf(options);
  if (typeof source === "string" && isHubReference(source)) {
    return { kind: "hub", endpoint, reference: parseHubReference(source) };
  }
  if (hasUser(source)) throw userError("source");
  const found = locate(source);
  if (!(found instanceof URL)) return { kind: "folder", folder: found };
  // A relative one has what the page's address has.
  if (hasUser(found)) throw userError("source");
  const reference = hubReferenceOf(found, endpoint);
  return reference ? { kind: "hub", endpoint, reference } : { kind: "url", url: found };
}

function endpointOf({ endpoint }: SourceOptions): URL {
  const named = endpoint ?? hubEndpoint() ?? HUB;
  if (hasUser(named)) throw userError("endpoint");
  try {
    const url = new URL(named);
    if (url.protocol === "http:" || url.protocol === "https:") return url;
  } catch {
    // Told below.
  }
  const expected = "an http: or https: URL";
  // `name:password@host` is a URL too, of another kind.
  const found = String(named).includes("@") ? "another text, with an @" : String(named);
  throw new InputError({ file: "load", field: "endpoint", found, expected });
}

/** Whether a URL has a user name or a password. Where it is none because of a mistake, whether it may have been meant to. */
function hasUser(location: string | URL): boolean {
  const text = String(location).trim();
  if (!/^(https?:|[a-z][a-z\d+.-]+:\/\/)/i.test(text)) return false;
  try {
    const { username, password } = new URL(text);
    return username !== "" || password !== "";
  } catch {
    return text.includes("@");
  }
}

/** Says nothing of what was found: it is a secret, and `fetch` takes no such URLs. */
function userError(field: "source" | "endpoint"): InputError {
  const found = "a URL with a user name or a password";
  return new InputError({ file: "load", field, found, expected: "a URL without them" });
}

const CACHE_OPTIONS: readonly string[] = ["folder", "whenFull"] satisfies (keyof CacheOptions)[];
const WHEN_FULL: readonly unknown[] = ["error", "uncached", undefined] satisfies CacheOptions["whenFull"][];

/**
 * Where and how downloads are kept.
 * @throws InputError for what is no such option: a misspelt one would be ignored in silence
 */
function cacheOptions({ cache = {} }: SourceOptions): CacheOptions {
  if (typeof cache === "boolean") return {};
  const error = (field: string, value: unknown, expected: string, found = quote(value)) =>
    new InputError({ file: "load", field, found, expected });
  if (typeof cache !== "object" || cache === null) throw error("cache", cache, "true, false or an object");
  for (const key of Object.keys(cache)) {
    if (CACHE_OPTIONS.includes(key)) continue;
    throw error(`cache.${key}`, key, `one of ${CACHE_OPTIONS.join(", ")}`, "an unknown option");
  }
  const { folder, whenFull } = cache;
  if (folder !== undefined && typeof folder !== "string") throw error("cache.folder", folder, "a folder's path");
  if (!WHEN_FULL.includes(whenFull)) throw error("cache.whenFull", whenFull, "one of error, uncached");
  return cache;
}

/**
 * Where downloads are kept.
 * @returns undefined where the caller wants no cache, or there is no place for one
 */
export async function storeOf(options: SourceOptions): Promise<Store | undefined> {
  const { folder } = cacheOptions(options);
  return options.cache === false ? undefined : openStore(folder);
}

async function entryOf(place: Exclude<Place, { kind: "folder" }>, options: SourceOptions) {
  // `blob:` and `data:` are in the page already.
  if (place.kind === "url" && !/^https?:$/.test(place.url.protocol)) return undefined;
  const store = await storeOf(options);
  if (!store) return undefined;
  if (place.kind === "hub") {
    const { repo } = place.reference;
    return new CacheEntry(store, `hf:${repo}`, `${place.endpoint.href} ${repo}`);
  }
  const url = new URL(place.url);
  url.hash = "";
  return new CacheEntry(store, shown(url).replace(/\/$/, ""), url.href.replace(/\/(?=$|\?)/, ""));
}

async function remoteOf(
  place: Exclude<Place, { kind: "folder" }>,
  entry: CacheEntry | undefined,
  { token, signal }: SourceOptions & { signal?: AbortSignal },
  retry: Http["retry"],
): Promise<RemoteFolder> {
  if (place.kind === "url") return httpRemote(place.url, { retry });
  const { endpoint, reference } = place;
  const http = hubHttp(endpoint, reference.repo, token, retry);
  return hubRemote(endpoint, reference, await listingOf(endpoint, reference, http, entry, signal), http);
}

/** The files of a revision: as the hub says, and as it said last time where it cannot be reached. */
async function listingOf(
  endpoint: URL,
  reference: HubReference,
  http: Http,
  entry: CacheEntry | undefined,
  signal?: AbortSignal,
): Promise<HubListing> {
  const { revision } = reference;
  const stored = storedListing(await entry?.revision(revision));
  if (stored && isCommit(revision)) return stored;
  let listing: HubListing;
  try {
    listing = await hubListing(endpoint, reference, stored ? { ...http, retry: ONCE } : http, signal);
  } catch (error) {
    if (stored && isUnreachable(error)) return stored;
    throw error;
  }
  if (entry && stored?.commit !== listing.commit) await keepListing(entry, revision, listing);
  return listing;
}

/** Stores what a revision has now, and removes what none has any more. */
async function keepListing(entry: CacheEntry, revision: string, listing: HubListing): Promise<void> {
  try {
    await entry.writeRevision(revision, listingJson(listing));
  } catch (error) {
    // The first file of the model will say so, or do without.
    if (error instanceof StoreFullError) return;
    throw error;
  }
  const listings = (await entry.revisions()).map(storedListing).filter((found) => found !== undefined);
  await entry.prune(
    listings.flatMap(({ commit, files }) => files.map(({ path, version }) => ({ path, version: version ?? commit }))),
  );
}

/** What was damaged counts as not there. */
function storedListing(value: unknown): HubListing | undefined {
  if (value === undefined) return undefined;
  try {
    return readListing(value, "cache");
  } catch (error) {
    if (error instanceof FileFormatError) return undefined;
    throw error;
  }
}

function uncached(remote: RemoteFolder, { onDownload }: SourceOptions): Folder {
  const fetched = new Map<string, number>();
  return directFolder(remote, (bytes, { name, size = 0 }) => {
    const sum = (fetched.get(name) ?? 0) + bytes;
    fetched.set(name, sum);
    const file = name.startsWith(remote.name) ? name.slice(remote.name.length).replace(/^\//, "") || name : name;
    onDownload?.({ file, size, fetched: sum, cached: 0 });
  });
}
