/** The origin private file system of a browser, in pages and workers alike. */

import { SourceError } from "../errors.ts";
import { type Release, type Store, type StoreEntry, StoreFullError } from "./store.ts";

/** Everything lies below this folder of the origin. */
const FOLDER = "layerleap";

/** What `values()` gives: TypeScript's own types do not say which kind has which methods. */
type Handle = FileSystemFileHandle | FileSystemDirectoryHandle;

/** Asked once a page: browsers may ask the person. */
let persisted: Promise<unknown> | undefined;

/**
 * The store of this origin.
 * @returns undefined where the browser has none, as on pages that are not secure and in some private windows
 */
export async function opfsStore(): Promise<Store | undefined> {
  const storage = globalThis.navigator?.storage;
  if (!storage?.getDirectory || typeof FileSystemFileHandle === "undefined") return undefined;
  if (!("createWritable" in FileSystemFileHandle.prototype)) return undefined;
  try {
    const root = await storage.getDirectory();
    return new OpfsStore(await root.getDirectoryHandle(FOLDER, { create: true }));
  } catch {
    return undefined;
  }
}

class OpfsStore implements Store {
  readonly name = "the browser's storage";
  readonly #root: FileSystemDirectoryHandle;

  constructor(root: FileSystemDirectoryHandle) {
    this.#root = root;
  }

  async read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { folder, name } = await this.#locate(path);
    return absentIsUndefined(async () => {
      const handle = await folder?.getFileHandle(name);
      return handle && new Uint8Array(await (await handle.getFile()).arrayBuffer());
    });
  }

  async write(path: string, parts: readonly Uint8Array<ArrayBuffer>[]): Promise<void> {
    try {
      const { folder, name } = await this.#locate(path, true);
      const handle = await folder!.getFileHandle(name, { create: true });
      // Writes into a file of its own, which takes the other's place on closing.
      const writable = await handle.createWritable();
      try {
        for (const part of parts) await writable.write(part);
        await writable.close();
      } catch (error) {
        await writable.abort().catch(() => {});
        throw error;
      }
    } catch (cause) {
      // `create` above leaves an empty file where there was none.
      if ((await this.read(path).catch(() => undefined))?.length === 0) await this.remove(path).catch(() => {});
      if (nameOf(cause) === "QuotaExceededError") throw new StoreFullError("the browser's quota is used up", { cause });
      throw new SourceError(this.name, `cannot be used (${cause instanceof Error ? cause.message : cause})`, { cause });
    }
  }

  async list(path: string): Promise<readonly StoreEntry[]> {
    const folder = await this.#folder(path.split("/").filter(Boolean));
    if (!folder) return [];
    const found: StoreEntry[] = [];
    for await (const handle of (folder as unknown as { values(): AsyncIterable<Handle> }).values()) {
      if (handle.kind === "directory") found.push({ name: handle.name, size: undefined });
      else {
        const file = await absentIsUndefined(() => (handle as FileSystemFileHandle).getFile());
        if (file) found.push({ name: handle.name, size: file.size });
      }
    }
    return found;
  }

  async remove(path: string): Promise<void> {
    const { folder, name } = await this.#locate(path);
    await absentIsUndefined(async () => folder?.removeEntry(name, { recursive: true }));
  }

  async room(): Promise<number | undefined> {
    const { quota, usage } = await navigator.storage.estimate();
    return quota === undefined ? undefined : Math.max(0, quota - (usage ?? 0));
  }

  async persist(): Promise<void> {
    // Refused, the files are kept all the same until the browser needs the room.
    persisted ??= navigator.storage.persist?.().catch(() => false);
    await persisted;
  }

  lock(name: string, signal?: AbortSignal): Promise<Release> {
    return new Promise((resolve, reject) => {
      // The lock is held until the callback's promise ends.
      const hold = () =>
        new Promise<void>((free) => {
          resolve(async () => free());
        });
      navigator.locks.request(`layerleap/${name}`, signal ? { signal } : {}, hold).catch(reject);
    });
  }

  async #locate(
    path: string,
    create = false,
  ): Promise<{ folder: FileSystemDirectoryHandle | undefined; name: string }> {
    const parts = path.split("/");
    const name = parts.pop() ?? "";
    return { folder: await this.#folder(parts, create), name };
  }

  async #folder(parts: readonly string[], create = false): Promise<FileSystemDirectoryHandle | undefined> {
    let folder: FileSystemDirectoryHandle | undefined = this.#root;
    for (const part of parts) {
      const parent: FileSystemDirectoryHandle | undefined = folder;
      folder = await absentIsUndefined(async () => parent?.getDirectoryHandle(part, { create }));
    }
    return folder;
  }
}

/** The file may go away at any time: another tab removes it, or the browser evicts all. */
async function absentIsUndefined<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    const name = nameOf(error);
    if (name === "NotFoundError" || name === "TypeMismatchError") return undefined;
    throw error;
  }
}

function nameOf(error: unknown): string {
  return error instanceof Error || error instanceof DOMException ? error.name : "";
}
