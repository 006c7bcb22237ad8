/** A disk that is full: an error that says so, or a load without the cache; and never a half that looks whole. */

import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { cachedFolder } from "../../src/cache/cached_folder.ts";
import { CHUNK_BYTES } from "../../src/cache/chunks.ts";
import { CacheEntry } from "../../src/cache/entry.ts";
import { cacheFolder, NodeStore } from "../../src/cache/node_store.ts";
import { StoreFullError } from "../../src/cache/store.ts";
import { hubHttp, hubListing, hubRemote } from "../../src/sources/hub.ts";
import type { Folder } from "../../src/weights/source.ts";
import type { HubServer } from "../sources/hub_server.ts";
import { QUICK } from "../sources/quick.ts";
import { failure, temporaryFolder } from "../weights/model_folder.ts";
import {
  chunksBelow,
  expectSame,
  filesBelow,
  hub,
  LARGE,
  LARGE_BYTES,
  open,
  readAll,
  SMALL,
  wholeBelow,
} from "./downloads.ts";

/** A disk of so many bytes. `admits` is whether it tells beforehand how much room there is. */
class SmallStore extends NodeStore {
  readonly #bytes: number;
  readonly #admits: boolean;

  constructor(folder: string, bytes: number, admits: boolean) {
    super(folder);
    this.#bytes = bytes;
    this.#admits = admits;
  }

  get #left(): number {
    return this.#bytes - [...filesBelow(this.name).values()].reduce((sum, size) => sum + size, 0);
  }

  override async write(path: string, parts: readonly Uint8Array<ArrayBuffer>[]): Promise<void> {
    if (parts.reduce((sum, { length }) => sum + length, 0) > this.#left) throw new StoreFullError("no space left");
    await super.write(path, parts);
  }

  override async room(): Promise<number | undefined> {
    return this.#admits ? Math.max(0, this.#left) : undefined;
  }
}

async function openOn(server: HubServer, store: NodeStore, uncachedWhenFull: boolean): Promise<Folder> {
  const endpoint = new URL(server.endpoint);
  const reference = { repo: "owner/name", revision: "main", path: "" };
  const http = hubHttp(endpoint, reference.repo, undefined, QUICK);
  const remote = hubRemote(endpoint, reference, await hubListing(endpoint, reference, http), http);
  return cachedFolder(remote, new CacheEntry(store, "hf:owner/name", "owner/name"), { uncachedWhenFull });
}

describe.each([
  ["tells how much room it has", true],
  ["does not tell", false],
])("a disk that %s", (_, admits) => {
  test.each([0, 1000, CHUNK_BYTES + 100_000])("and has %i bytes: an error, and nothing looks whole", async (bytes) => {
    const server = await hub();
    const folder = temporaryFolder();
    const opened = openOn(server, new SmallStore(folder, bytes, admits), false);
    const error = await failure(opened.then((folder) => readAll(folder, LARGE)));
    expect(error).toMatchObject({ name: "CacheFullError", code: "cache-full" });
    expect(error).toMatchObject({ neededBytes: expect.any(Number), message: expect.stringMatching(/free some space/) });
    if (admits) expect(server.sent).toBe(0);
    expect(wholeBelow(folder, LARGE)).toBe(false);
    // With room the same download goes on from what was stored.
    const stored = chunksBelow(folder).length;
    server.sent = 0;
    const roomy = await openOn(server, new NodeStore(folder), false);
    expectSame(await readAll(roomy, LARGE), server.files.get(LARGE));
    expect(server.sent).toBe(LARGE_BYTES - stored * CHUNK_BYTES);
  });

  test.each([0, 1000, CHUNK_BYTES + 100_000])("and has %i bytes: goes on without it where asked to", async (bytes) => {
    const server = await hub();
    const folder = temporaryFolder();
    const opened = await openOn(server, new SmallStore(folder, bytes, admits), true);
    expectSame(await readAll(opened, LARGE), server.files.get(LARGE));
    expectSame(await readAll(opened, SMALL), server.files.get(SMALL));
    expect(wholeBelow(folder, LARGE)).toBe(false);
  });
});

test("a cache that cannot be written is an error that names it", async () => {
  const server = await hub();
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  const error = await failure(
    open("hf:owner/name", { endpoint: server.endpoint, cache: { folder: join(file, "cache") } }),
  );
  expect(error).toMatchObject({
    code: "source",
    file: join(file, "cache"),
    message: expect.stringMatching(/cache cannot be used/),
  });
});

// Node's `mkdir` with `recursive` never ends there.
test.skipIf(!existsSync("/proc/self"))("nor does one where no folder can be made hang", async () => {
  const server = await hub();
  const error = await failure(
    open("hf:owner/name", { endpoint: server.endpoint, cache: { folder: "/proc/nope/cache" } }),
  );
  expect(error).toMatchObject({ code: "source", file: "/proc/nope/cache" });
});

test("without a cache nothing is written and all is read", async () => {
  const server = await hub();
  const folder = temporaryFolder();
  process.env.LAYERLEAP_CACHE = folder;
  try {
    const opened = await open("hf:owner/name", { endpoint: server.endpoint, cache: false });
    expectSame(await readAll(opened, LARGE), server.files.get(LARGE));
    expect(filesBelow(folder).size).toBe(0);
  } finally {
    delete process.env.LAYERLEAP_CACHE;
  }
});

test("the cache lies where the environment says", () => {
  const before = { ...process.env };
  try {
    mkdirSync(temporaryFolder(), { recursive: true });
    Object.assign(process.env, { LAYERLEAP_CACHE: "/a", XDG_CACHE_HOME: "/b" });
    expect(cacheFolder()).toBe("/a");
    delete process.env.LAYERLEAP_CACHE;
    expect(cacheFolder()).toBe("/b/layerleap");
    delete process.env.XDG_CACHE_HOME;
    expect(cacheFolder()).toMatch(/\/\.cache\/layerleap$/);
  } finally {
    process.env = before;
  }
});
