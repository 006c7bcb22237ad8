/** A folder on a server whose files are kept in a store. What is there whole is read without a server, if need be. */

import { CacheFullError, SourceError } from "../errors.ts";
import { directSource } from "../sources/direct_folder.ts";
import type { RemoteFile, RemoteFolder } from "../sources/remote.ts";
import { isPassing, ONCE } from "../sources/retry.ts";
import type { DownloadProgress } from "../types.ts";
import type { Folder, Source } from "../weights/source.ts";
import { CachedFile } from "./cached_file.ts";
import { chunksOf, storedChunk } from "./chunks.ts";
import type { CacheEntry, Manifest } from "./entry.ts";
import { StoreFullError } from "./store.ts";

export interface CachedFolderOptions {
  /** Goes on without storing when there is no room, instead of failing with a CacheFullError. */
  uncachedWhenFull?: boolean;
  onDownload?: (progress: DownloadProgress) => void;
}

/**
 * The files of `remote`, kept in `entry`.
 *
 * Whether a file has changed is asked each time it is opened, unless the folder is pinned; where the server cannot be reached,
 * the copy that is there whole is taken.
 */
export function cachedFolder(remote: RemoteFolder, entry: CacheEntry, options: CachedFolderOptions = {}): Folder {
  const files = new Set<CachedFile>();
  const { list } = remote;
  return {
    name: remote.name,
    ...(list && { list: (signal?: AbortSignal) => list.call(remote, signal) }),
    async open(path, signal) {
      const source = await openCached(remote, entry, path, options, signal);
      if (source instanceof CachedFile) files.add(source);
      return source;
    },
    async verified(signal) {
      // A folder that is read again asks again: what has been told is not told twice.
      for (const file of files) {
        try {
          await file.verified(signal);
        } finally {
          if (!signal?.aborted) files.delete(file);
        }
      }
    },
  };
}

async function openCached(
  remote: RemoteFolder,
  entry: CacheEntry,
  path: string,
  options: CachedFolderOptions,
  signal?: AbortSignal,
): Promise<Source | undefined> {
  const kept = remote.pinned ? undefined : await entry.kept(path);
  let file: RemoteFile | undefined;
  try {
    file = await remote.open(path, signal, kept && ONCE);
  } catch (error) {
    if (!kept || !isUnreachable(error)) throw error;
    return kept === "absent" ? undefined : openWith(entry, kept.directory, kept.manifest, undefined, options);
  }
  if (!file) {
    if (!remote.pinned && kept !== "absent") await unlessFull(() => entry.markAbsent(path));
    return undefined;
  }
  try {
    return await openStored(file, remote.pinned, entry, path, options, signal);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Whether the server did not answer at all, or said "not now". */
export function isUnreachable(error: unknown): boolean {
  return error instanceof SourceError && (error.status === undefined || isPassing(error.status));
}

async function openStored(
  file: RemoteFile,
  pinned: boolean,
  entry: CacheEntry,
  path: string,
  options: CachedFolderOptions,
  signal?: AbortSignal,
): Promise<Source> {
  const directory = entry.directory(path, file.version);
  const found = await entry.manifest(directory);
  const described = { path, version: file.version ?? "", sha256: file.sha256 ?? "" };
  try {
    let manifest = found && matches(found, file) ? found : undefined;
    const justFetched = !manifest && file.size === undefined;
    if (!manifest) {
      if (found) await entry.store.remove(directory);
      const size = file.size ?? (await fill(file, entry, directory, path, options, signal));
      manifest = { ...described, size, whole: file.size === undefined };
      await entry.writeManifest(directory, manifest);
      if (manifest.whole && !pinned) await entry.keepOnly(path, directory);
    }
    const cached = await openWith(entry, directory, manifest, file, { ...options, justFetched }, pinned);
    const { missing } = cached;
    if (missing > 0) {
      await entry.store.persist();
      const room = await entry.store.room();
      if (room !== undefined && room < missing) throw new CacheFullError(file.name, missing, room);
    }
    return cached;
  } catch (cause) {
    if (!(cause instanceof StoreFullError) && !(cause instanceof CacheFullError)) throw cause;
    if (options.uncachedWhenFull) {
      const progress = { file: path, size: file.size ?? 0, fetched: 0, cached: 0 };
      return directSource(file, signal, (bytes) => {
        progress.fetched += bytes;
        options.onDownload?.({ ...progress });
      });
    }
    if (cause instanceof CacheFullError) throw cause;
    throw new CacheFullError(file.name, file.size ?? 1, await entry.store.room(), { cause });
  }
}

/** What is stored under the version's name is of that version; size and SHA-256 can only differ where somebody meddled. */
function matches(manifest: Manifest, { size, sha256, version }: RemoteFile): boolean {
  if (manifest.version !== (version ?? "") || manifest.sha256 !== (sha256 ?? "")) return false;
  return size === undefined ? manifest.whole : manifest.size === size;
}

function openWith(
  entry: CacheEntry,
  directory: string,
  manifest: Manifest,
  remote: RemoteFile | undefined,
  { uncachedWhenFull = false, onDownload, justFetched }: CachedFolderOptions & { justFetched?: boolean },
  pinned = true,
): Promise<CachedFile> {
  const { path: file, size } = manifest;
  return CachedFile.open(entry, {
    ...{ directory, manifest, remote, pinned, uncachedWhenFull, justFetched },
    onProgress: (progress) => onDownload?.({ file, size, ...progress }),
  });
}

/**
 * Stores a file whose size only its end tells.
 * @returns the size
 */
async function fill(
  file: RemoteFile,
  entry: CacheEntry,
  directory: string,
  path: string,
  { onDownload }: CachedFolderOptions,
  signal?: AbortSignal,
): Promise<number> {
  let size = 0;
  const onBytes = (bytes: number) => {
    size += bytes;
    onDownload?.({ file: path, size, fetched: size, cached: 0 });
  };
  for await (const { index, bytes } of chunksOf(file.pieces(0, undefined, signal), Number.POSITIVE_INFINITY, onBytes)) {
    await entry.store.write(`${directory}/${index}`, await storedChunk(bytes));
  }
  return size;
}

/** For what can be done without. */
async function unlessFull(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof StoreFullError)) throw error;
  }
}
