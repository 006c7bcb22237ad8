/** What is in the cache, into it and out of it. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { listCached, removeCached } from "../../src/cache/cached_models.ts";
import { CacheEntry } from "../../src/cache/entry.ts";
import { NodeStore } from "../../src/cache/node_store.ts";
import { pull } from "../../src/session/pull.ts";
import type { LoadProgress } from "../../src/types.ts";
import { HubServer } from "../sources/hub_server.ts";
import { failure, SHARDED, STORIES, temporaryFolder } from "../weights/model_folder.ts";
import { filesBelow, open, readAll } from "./downloads.ts";

/** A hub with a real model, and files that no load wants. */
async function model(folder = STORIES) {
  const names = readdirSync(folder).filter((name) => name !== "golden.json");
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))]));
  const unwanted = { "pytorch_model.bin": Buffer.alloc(200_000), "README.md": Buffer.from("#") };
  const server = await HubServer.start({ ...files, ...unwanted });
  onTestFinished(() => server.stop());
  return { server, options: { endpoint: server.endpoint, cache: { folder: temporaryFolder() } } };
}

test.each([STORIES, SHARDED])("pull fetches what a load needs and no more, and again nothing: %s", async (folder) => {
  const { server, options } = await model(folder);
  await pull("hf:owner/name", options);
  const fetched = new Set(server.downloads.map(({ path }) => path.split("/").at(-1)));
  expect(fetched).not.toContain("pytorch_model.bin");
  expect(fetched).not.toContain("README.md");
  const [cached] = await listCached(options);
  expect(cached).toMatchObject({ source: "hf:owner/name", complete: true, files: fetched.size });
  expect(cached!.bytes).toBe([...filesBelow(options.cache.folder).values()].reduce((a, b) => a + b, 0));

  server.asked.length = 0;
  await pull("hf:owner/name", options);
  expect(server.downloads).toEqual([]);
  await server.stop();
  for (const name of fetched) {
    const bytes = await readAll(await open("hf:owner/name", options), name!);
    expect(bytes.equals(readFileSync(join(folder, name!)))).toBe(true);
  }
});

test("pull refuses what is not downloaded, and a model that cannot be run before its weights come", async () => {
  expect(await failure(pull(STORIES))).toMatchObject({ code: "invalid-input", field: "source" });
  const { server, options } = await model();
  expect(await failure(pull("hf:owner/name", { ...options, cache: false }))).toMatchObject({ code: "invalid-input" });
  const uncached = { ...options, cache: { ...options.cache, whenFull: "uncached" as const } };
  expect(await failure(pull("hf:owner/name", uncached))).toMatchObject({ field: "cache.whenFull" });
  server.files.set("config.json", Buffer.from('{"model_type":"unheard-of"}'));
  server.sent = 0;
  expect(await failure(pull("hf:owner/name", options))).toMatchObject({ code: "unsupported-model" });
  expect(server.sent).toBeLessThan(200_000);
});

test("a name that led to nothing is not listed", async () => {
  const { server, options } = await model();
  const missing = `${server.endpoint}/some/where/nothing.gguf`; // of two parts it would be a repository
  expect(await failure(pull(missing, options))).toMatchObject({ code: "source" });
  expect(filesBelow(options.cache.folder).size).toBeGreaterThan(0);
  expect(await listCached(options)).toEqual([]);
});

test("what came of a file before its size was known is listed", async () => {
  const { options } = await model();
  const entry = new CacheEntry(new NodeStore(options.cache.folder), "http://some/where", "key");
  await entry.markAbsent("config.json");
  expect(await listCached(options)).toEqual([]);
  await entry.store.write(`${entry.directory("m.gguf", undefined)}/0`, [new Uint8Array(1000)]);
  const found = { source: "http://some/where", files: 0, complete: false };
  expect(await listCached(options)).toMatchObject([found]);
});

test("a pull tells how far it is, what it came to, and what option it has not", async () => {
  const { options } = await model();
  const steps: LoadProgress[] = [];
  const first = await pull("hf:owner/name", { ...options, onProgress: (step) => steps.push(step) });
  expect(new Set(steps.map(({ phase }) => phase))).toEqual(new Set(["download"]));
  const [{ loadedBytes, totalBytes }] = steps.slice(-1) as [LoadProgress];
  expect(loadedBytes).toBe(totalBytes);
  expect(first).toEqual({ fetchedBytes: totalBytes, cachedBytes: 0 });
  expect(await pull("hf:owner/name", options)).toEqual({ fetchedBytes: 0, cachedBytes: totalBytes });
  const misspelt = { ...options, onprogress: () => {} };
  expect(await failure(pull("hf:owner/name", misspelt))).toMatchObject({ code: "invalid-input", field: "onprogress" });
});

test("models are listed by name and removed one by one, as they were named or as they are listed", async () => {
  const { server, options } = await model();
  await pull("hf:owner/name", options);
  server.meddle = ({ path, range }, response) => {
    const file = server.files.get(path.split("/").at(-1)!);
    if (!path.startsWith("/files/") || !file) return false;
    server.send(response, file, range);
    return true;
  };
  const files = `${server.endpoint}/files`;
  for (const query of ["", "?a=1"]) await readAll(await open(`${files}/${query}`, options), "config.json");
  const names = async () => (await listCached(options)).map(({ source }) => source);
  expect(await names()).toEqual(["hf:owner/name", files, files]);
  expect(await removeCached(`${server.endpoint}/other`, options)).toBe(false);
  expect(await removeCached(`${files}/?a=1`, options)).toBe(true);
  expect(await names()).toEqual(["hf:owner/name", files]);
  // Of another endpoint: what counts is the name that is listed.
  expect(await removeCached("hf:owner/name@main", { cache: options.cache })).toBe(true);
  expect(await removeCached("hf:owner/name", options)).toBe(false);
  expect(await removeCached(files, options)).toBe(true);
  expect(await names()).toEqual([]);
  expect(await listCached({ cache: false })).toEqual([]);
});
