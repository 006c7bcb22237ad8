/** What is in the cache, into it and out of it. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { listCached, removeCached } from "../../src/cache/cached_models.ts";
import { pull } from "../../src/session/pull.ts";
import { HubServer } from "../sources/hub_server.ts";
import { QUICK } from "../sources/quick.ts";
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
  await pull("hf:owner/name", options, QUICK);
  const fetched = new Set(server.downloads.map(({ path }) => path.split("/").at(-1)));
  expect(fetched).not.toContain("pytorch_model.bin");
  expect(fetched).not.toContain("README.md");
  const [cached] = await listCached(options);
  expect(cached).toMatchObject({ source: "hf:owner/name", complete: true, files: fetched.size });
  expect(cached!.bytes).toBe([...filesBelow(options.cache.folder).values()].reduce((a, b) => a + b, 0));

  server.asked.length = 0;
  await pull("hf:owner/name", options, QUICK);
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
  server.files.set("config.json", Buffer.from('{"model_type":"unheard-of"}'));
  server.sent = 0;
  expect(await failure(pull("hf:owner/name", options, QUICK))).toMatchObject({ code: "unsupported-model" });
  expect(server.sent).toBeLessThan(200_000);
});

test("models are listed by name and removed one by one, as they were named or as they are listed", async () => {
  const { server, options } = await model();
  await pull("hf:owner/name", options, QUICK);
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
  expect(await removeCached("hf:owner/name", options)).toBe(true);
  expect(await removeCached("hf:owner/name", options)).toBe(false);
  expect(await removeCached(files, options)).toBe(true);
  expect(await names()).toEqual([]);
  expect(await listCached({ cache: false })).toEqual([]);
});
