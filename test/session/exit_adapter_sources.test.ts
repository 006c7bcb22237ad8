/** Exit adapters from where they may be: named on the hub, by a URL, beside a model on the hub, on disk. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { load, type Model, SourceError } from "../../src/index.ts";
import { fileFolder } from "../../src/sources/file_folder.ts";
import { adapterFile, identityAdapter, nextLayerAdapter } from "../exit_adapters.ts";
import { STORIES } from "../memory_folder.ts";
import { HubServer } from "../sources/hub_server.ts";

const folder = mkdtempSync(join(tmpdir(), "layerleap-adapters-"));
let server: HubServer;
let model: Model;
let block: Uint8Array<ArrayBuffer>;
beforeAll(async () => {
  block = adapterFile(await nextLayerAdapter(STORIES, 1));
  const names = readdirSync(STORIES).filter((name) => name !== "golden.json");
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(STORIES, name))]));
  server = await HubServer.start({
    ...files,
    "exit-adapter.safetensors": Buffer.from(block),
    "adapters/linear.safetensors": Buffer.from(adapterFile(await identityAdapter(STORIES, 3))),
  });
  model = await load(STORIES);
});
afterAll(async () => {
  await model.dispose();
  await server.stop();
  rmSync(folder, { recursive: true });
});

const reached = () => ({ endpoint: server.endpoint, cache: { folder } });

test("a name on the hub: a file, or the repository that has one; kept in the cache", async () => {
  expect(await model.loadExitAdapter("hf:owner/name/adapters/linear.safetensors", reached())).toMatchObject({
    ...{ kind: "linear", exitLayer: 3 },
  });
  expect(await model.loadExitAdapter("hf:owner/name", reached())).toMatchObject({ kind: "block", exitLayer: 1 });
  const { sent } = server;
  expect(await model.loadExitAdapter("hf:owner/name", reached())).toMatchObject({ kind: "block" });
  expect(server.sent, "bytes of files").toBe(sent);
  expect((await model.generate("Once", { drafter: "adapter", maxTokens: 12 }).result()).ids).toHaveLength(12);
});

test("a URL of a file", async () => {
  const folder = `${server.endpoint}/owner/name/resolve/${server.commit}/adapters`;
  const url = new URL(`${folder}/linear.safetensors`);
  expect(await model.loadExitAdapter(url, { cache: false })).toMatchObject({ kind: "linear", exitLayer: 3 });
  const absent = new URL(`${folder}/none.safetensors`);
  await expect(model.loadExitAdapter(absent, { cache: false })).rejects.toThrow("there is no none.safetensors");
});

test("beside a model on the hub", async () => {
  await using found = await load("hf:owner/name", reached());
  expect(found.exitAdapter).toMatchObject({ kind: "block", exitLayer: 1 });
  expect(found.warnings).toEqual([]);
});

test("beside a model that it was not made for it is a warning, and asked for an error", async () => {
  server.files.set("exit-adapter.safetensors", Buffer.from(block.slice(0, -8)));
  await using found = await load("hf:owner/name", reached());
  expect(found.exitAdapter).toBeUndefined();
  expect(found.warnings).toEqual([
    expect.stringMatching(/^the exit adapter beside the model is not used: .*truncated/),
  ]);
  await expect(model.loadExitAdapter("hf:owner/name", reached())).rejects.toThrow("truncated");
  await expect(model.loadExitAdapter("hf:owner/name/adapters", reached())).resolves.toMatchObject({ kind: "linear" });
  await expect(model.loadExitAdapter("hf:owner/name/none.safetensors", reached())).rejects.toThrow(SourceError);
});

test("beside a .gguf file that is named by itself", async () => {
  writeFileSync(join(folder, "some.gguf"), "no model");
  const files = fileFolder(join(folder, "some.gguf"));
  expect(await files.list!()).toEqual(["some.gguf"]);
  writeFileSync(join(folder, "exit-adapter.safetensors"), block);
  writeFileSync(join(folder, "other.safetensors"), block);
  expect(await files.list!()).toEqual(["some.gguf", "exit-adapter.safetensors"]);
  const adapter = (await files.open("exit-adapter.safetensors"))!;
  expect(adapter.size).toBe(block.length);
  await adapter.close();
  expect(await files.open("other.safetensors")).toBeUndefined();
});
