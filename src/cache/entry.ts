/**
 * One cached model in a store: where its files lie and what is written about them.
 *
 *     <model>/source.json                              what was asked for, for people
 *     <model>/revisions/<revision>.json                which files a revision of the hub has
 *     <model>/files/<file>/absent                      the server had no such file
 *     <model>/files/<file>/<version>/manifest.json     size, version, SHA-256, and whether all of it is known to be right
 *     <model>/files/<file>/<version>/0, 1, 2, ...      its chunks
 *
 * Names are readable, cut, and end in a part of the SHA-256 of the whole name.
 */

import { sha256 } from "#platform";
import type { Store } from "./store.ts";

/** What is known of one version of a file. */
export interface Manifest {
  /** Path inside the model. */
  path: string;
  size: number;
  /** What the server calls this version; empty where it said nothing. */
  version: string;
  /** SHA-256 in hexadecimal digits; empty where it was not published. */
  sha256: string;
  /** Whether all chunks were there once and the SHA-256 was right. */
  whole: boolean;
}

export class CacheEntry {
  readonly store: Store;
  readonly id: string;
  /** What was asked for, for people. */
  readonly source: string;
  #described = false;

  /** @param key what tells this model from all others, such as its whole URL */
  constructor(store: Store, source: string, key: string) {
    this.store = store;
    this.source = source;
    this.id = idOf(source, key);
  }

  /** Where a version of a file lies. A version that has no name is kept apart from all others. */
  directory(path: string, version: string | undefined): string {
    return `${this.#file(path)}/${hash(version ?? crypto.randomUUID())}`;
  }

  /** @returns undefined where there is none, or none that can be read */
  async manifest(directory: string): Promise<Manifest | undefined> {
    return readManifest(await readJson(this.store, `${directory}/manifest.json`));
  }

  async writeManifest(directory: string, manifest: Manifest): Promise<void> {
    await this.#describe();
    await writeJson(this.store, `${directory}/manifest.json`, manifest);
  }

  /** The version of a file that is there whole, or "absent" where the server had no such file. */
  async kept(path: string): Promise<{ directory: string; manifest: Manifest } | "absent" | undefined> {
    const file = this.#file(path);
    for (const { name, size } of await this.store.list(file)) {
      if (size !== undefined) continue;
      const directory = `${file}/${name}`;
      const manifest = await this.manifest(directory);
      if (manifest?.whole) return { directory, manifest };
    }
    return (await this.store.read(`${file}/absent`)) ? "absent" : undefined;
  }

  /** Remembers that the server has no such file. */
  async markAbsent(path: string): Promise<void> {
    await this.#describe();
    await this.store.write(`${this.#file(path)}/absent`, [new Uint8Array([1])]);
  }

  /** Removes all other versions of a file. */
  async keepOnly(path: string, directory: string): Promise<void> {
    const file = this.#file(path);
    for (const { name } of await this.store.list(file)) {
      if (`${file}/${name}` !== directory) await this.store.remove(`${file}/${name}`);
    }
  }

  /** What was stored of a revision. */
  async revision(revision: string): Promise<unknown> {
    return readJson(this.store, this.#revision(revision));
  }

  async writeRevision(revision: string, listing: unknown): Promise<void> {
    await this.#describe();
    await writeJson(this.store, this.#revision(revision), listing);
  }

  /** All revisions that were stored. */
  async revisions(): Promise<unknown[]> {
    const entries = await this.store.list(`${this.id}/revisions`);
    return Promise.all(entries.map(({ name }) => readJson(this.store, `${this.id}/revisions/${name}`)));
  }

  /** Removes all versions of files but these. */
  async prune(keep: readonly { path: string; version: string }[]): Promise<void> {
    const kept = new Set(keep.map(({ path, version }) => this.directory(path, version)));
    const files = `${this.id}/files`;
    for (const file of await this.store.list(files)) {
      const versions = (await this.store.list(`${files}/${file.name}`)).map(
        ({ name }) => `${files}/${file.name}/${name}`,
      );
      for (const directory of versions) if (!kept.has(directory)) await this.store.remove(directory);
      if (!versions.some((directory) => kept.has(directory))) await this.store.remove(`${files}/${file.name}`);
    }
  }

  async #describe(): Promise<void> {
    if (this.#described) return;
    this.#described = true;
    const path = `${this.id}/source.json`;
    if (!(await this.store.read(path))) await writeJson(this.store, path, { source: this.source });
  }

  #file(path: string): string {
    return `${this.id}/files/${idOf(path, path)}`;
  }

  #revision(revision: string): string {
    return `${this.id}/revisions/${idOf(revision, revision)}.json`;
  }
}

/** Where versions of a cached model's files lie; of one that broke off before its size was known, without a manifest. */
export async function versionsOf(store: Store, id: string): Promise<string[]> {
  const directories: string[] = [];
  for (const file of await store.list(`${id}/files`)) {
    for (const { name, size } of await store.list(`${id}/files/${file.name}`)) {
      if (size === undefined) directories.push(`${id}/files/${file.name}/${name}`);
    }
  }
  return directories;
}

/** The manifests in directories, with where each lies. */
export async function manifestsOf(
  store: Store,
  directories: readonly string[],
): Promise<{ directory: string; manifest: Manifest }[]> {
  const found: { directory: string; manifest: Manifest }[] = [];
  for (const directory of directories) {
    const manifest = readManifest(await readJson(store, `${directory}/manifest.json`));
    if (manifest) found.push({ directory, manifest });
  }
  return found;
}

/** What a cached model was asked for as; undefined where `id` is none. */
export async function sourceOf(store: Store, id: string): Promise<string | undefined> {
  const value = await readJson(store, `${id}/source.json`);
  if (typeof value !== "object" || !value || !("source" in value)) return undefined;
  return typeof value.source === "string" ? value.source : undefined;
}

function readManifest(value: unknown): Manifest | undefined {
  if (typeof value !== "object" || !value) return undefined;
  const { path, size, version, sha256, whole } = value as Partial<Record<keyof Manifest, unknown>>;
  if (typeof path !== "string" || typeof version !== "string" || typeof sha256 !== "string") return undefined;
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return undefined;
  return { path, size, version, sha256, whole: whole === true };
}

/** What is not JSON was damaged, and counts as not there. */
async function readJson(store: Store, path: string): Promise<unknown> {
  const bytes = await store.read(path);
  try {
    return bytes && JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

async function writeJson(store: Store, path: string, value: unknown): Promise<void> {
  await store.write(path, [new TextEncoder().encode(JSON.stringify(value))]);
}

function idOf(name: string, key: string): string {
  const readable = name
    .replace(/^\w+:\/*/, "")
    .replace(/[^\w.-]+/g, "-")
    .replace(/^[.-]+/, "");
  return `${readable.slice(-40).replace(/^[.-]+/, "")}-${hash(key)}`;
}

function hash(text: string): string {
  return sha256().update(new TextEncoder().encode(text)).hex().slice(0, 16);
}
