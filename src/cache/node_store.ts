/** A folder on disk (Node only). */

import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { SourceError } from "../errors.ts";
import { FileLock } from "./file_lock.ts";
import { type Release, type Store, StoreFullError } from "./store.ts";

/** Holds files while they are written, and locks. Their names begin with a dot, which no cached model's does. */
const WRITING = ".writing";
const LOCKS = ".locks";

/** What a process left half written when it was killed is removed after this long. */
const ABANDONED_MS = 60 * 60 * 1000;

/**
 * Where downloads are kept: `LAYERLEAP_CACHE`, else the folder that the system has for caches (XDG Base Directory
 * Specification; on Windows `LOCALAPPDATA`).
 */
export function cacheFolder(): string {
  const { LAYERLEAP_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (LAYERLEAP_CACHE) return LAYERLEAP_CACHE;
  if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "layerleap");
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "layerleap");
}

/** A store in a folder, which is made when something is written. */
export class NodeStore implements Store {
  readonly name: string;
  #tidied: Promise<void> | undefined;

  constructor(folder: string) {
    this.name = folder;
  }

  async read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    try {
      const bytes = await readFile(this.#at(path));
      return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw this.#failure(error);
    }
  }

  async write(path: string, parts: readonly Uint8Array<ArrayBuffer>[]): Promise<void> {
    this.#tidied ??= this.#tidy();
    await this.#tidied;
    const target = this.#at(path);
    const writing = this.#at(`${WRITING}/${randomUUID()}`);
    try {
      await makeFolder(dirname(writing));
      await makeFolder(dirname(target));
      const file = await open(writing, "wx");
      try {
        for (const part of parts) await file.writeFile(part);
      } finally {
        await file.close();
      }
      await rename(writing, target);
    } catch (error) {
      await rm(writing, { force: true }).catch(() => {});
      const code = codeOf(error);
      if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") {
        throw new StoreFullError(messageOf(error), { cause: error });
      }
      throw this.#failure(error);
    }
  }

  async list(path: string) {
    try {
      const entries = await readdir(this.#at(path), { withFileTypes: true });
      const shown = entries.filter(({ name }) => !name.startsWith("."));
      const found = await Promise.all(
        shown.map(async (entry) => {
          if (entry.isDirectory()) return { name: entry.name, size: undefined };
          // Removed since it was listed: by a removal that goes on, or a newer version.
          const status = await stat(this.#at(`${path}/${entry.name}`)).catch(() => undefined);
          return status && { name: entry.name, size: status.size };
        }),
      );
      return found.filter((entry) => entry !== undefined);
    } catch (error) {
      if (isAbsent(error)) return [];
      throw this.#failure(error);
    }
  }

  async remove(path: string): Promise<void> {
    await rm(this.#at(path), { recursive: true, force: true, maxRetries: 3 }).catch((error) => {
      throw this.#failure(error);
    });
  }

  async room(): Promise<number | undefined> {
    // The folder may not be there yet; the disk it will be on is that of a folder above.
    for (let folder = this.name; ; folder = dirname(folder)) {
      try {
        const { bavail, bsize } = await statfs(folder);
        return bavail * bsize;
      } catch (error) {
        if (!isAbsent(error) || folder === dirname(folder)) return undefined;
      }
    }
  }

  async persist(): Promise<void> {}

  async lock(name: string, signal?: AbortSignal): Promise<Release> {
    const folder = this.#at(LOCKS);
    await makeFolder(folder).catch((error) => {
      throw this.#failure(error);
    });
    const lock = await FileLock.take(join(folder, `${name.replaceAll("/", "+")}.lock`), signal);
    return () => lock.release();
  }

  #at(path: string): string {
    return join(this.name, path);
  }

  #failure(cause: unknown): SourceError {
    return new SourceError(this.name, `the cache cannot be used (${messageOf(cause)})`, { cause });
  }

  /** Removes what killed processes left behind. */
  async #tidy(): Promise<void> {
    for (const folder of [WRITING, LOCKS]) {
      for (const name of await readdir(this.#at(folder)).catch(() => [])) {
        const path = this.#at(`${folder}/${name}`);
        const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
        if (age > ABANDONED_MS) await rm(path, { force: true }).catch(() => {});
      }
    }
  }
}

/**
 * Makes a folder, and those above it. Node's own `recursive` never ends where a folder is there and takes no other, as in
 * /proc.
 */
async function makeFolder(path: string): Promise<void> {
  const isThere = await mkdir(path).then(
    () => true,
    (error) => {
      if (codeOf(error) === "EEXIST") return true;
      if (codeOf(error) !== "ENOENT" || dirname(path) === path) throw error;
      return false;
    },
  );
  if (isThere) return;
  await makeFolder(dirname(path));
  await mkdir(path).catch((error) => {
    if (codeOf(error) !== "EEXIST") throw error; // another process was faster
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(codeOf(error));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
