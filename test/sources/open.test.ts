/** What a model can be named by, besides the hub. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { listCached, removeCached } from "../../src/cache/cached_models.ts";
import { fileList } from "../../src/sources/file_list.ts";
import { openSource } from "../../src/sources/open.ts";
import type { ModelSource, SourceOptions } from "../../src/types.ts";
import type { Folder } from "../../src/weights/source.ts";
import { failure, STORIES, temporaryFolder } from "../weights/model_folder.ts";
import { honouringRanges, serve } from "../weights/model_server.ts";
import { QUICK } from "./quick.ts";

async function text(folder: Folder, path: string): Promise<string | undefined> {
  const file = await folder.open(path);
  const bytes = file && (await file.read(0, file.size));
  await file?.close();
  return bytes && new TextDecoder().decode(bytes);
}

/** A file as a dropped or picked folder gives it. */
function dropped(path: string, content: string): File {
  const file = new File([content], path.split("/").at(-1)!);
  Object.defineProperty(file, "webkitRelativePath", { value: path });
  return file;
}

test("nothing is the package's own model", async () => {
  expect((await openSource(undefined)).name).toBe(STORIES);
});

test("a folder of the caller's is taken as it is", async () => {
  const folder: Folder = { name: "mine", open: async () => undefined };
  expect(await openSource(folder)).toBe(folder);
});

test("a directory lists its files, and is neither cached nor copied", async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "sub"));
  writeFileSync(join(folder, "config.json"), "{}");
  const opened = await openSource(folder);
  expect(await opened.list?.()).toEqual(["config.json"]);
  expect(opened.verified).toBeUndefined();
});

test("one .gguf file, by path or by URL, is a folder of that file", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "my model.gguf");
  writeFileSync(path, "GGUF");
  writeFileSync(join(folder, "config.json"), "{}");
  const { url } = await serve(folder, honouringRanges);
  const escaped = `${url}my%20model.gguf?x=1`;
  const sources: (string | URL)[] = [path, pathToFileURL(path), new URL("my model.gguf", url), escaped];
  for (const source of sources) {
    const opened = await openSource(source, { cache: false });
    expect(await opened.list?.(), String(source)).toEqual(["my model.gguf"]);
    expect(await text(opened, "my model.gguf")).toBe("GGUF");
    expect(await text(opened, "config.json")).toBeUndefined();
    expect(opened.name).toMatch(/my(%20| )model\.gguf$/);
  }
});

test("a URL of a folder cannot list", async () => {
  const { url } = await serve(STORIES, honouringRanges);
  const opened = await openSource(url, { cache: false });
  expect(opened.list).toBeUndefined();
  expect(JSON.parse((await text(opened, "config.json"))!)).toMatchObject({ model_type: "llama" });
});

test("a query goes with every file, and is in no name and no error", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "config.json"), "{}");
  const queries: string[] = [];
  let status = 200;
  const { url } = await serve(folder, (file, range, asked) => {
    queries.push(asked.search);
    return status === 200 ? honouringRanges(file, range, asked) : { status };
  });
  const opened = await openSource(`${url}?signature=secret`, { cache: { folder: temporaryFolder() } }, QUICK);
  expect(await text(opened, "config.json")).toBe("{}");
  expect(`${opened.name} ${(await opened.open("config.json"))?.name}`).not.toContain("secret");
  status = 403;
  expect(((await failure(opened.open("config.json"))) as Error).message).not.toContain("secret");
  expect(new Set(queries)).toEqual(new Set(["?signature=secret"]));
});

describe("files", () => {
  test("of a dropped folder are found without its name", async () => {
    const folder = await openSource([dropped("m/config.json", "{}"), dropped("m/sub/x.json", "[]")]);
    expect(folder.name).toBe("m");
    expect(await folder.list?.()).toEqual(["config.json"]);
    expect(await text(folder, "config.json")).toBe("{}");
    expect(await text(folder, "sub/x.json")).toBe("[]");
    expect(await text(folder, "m/config.json")).toBeUndefined();
  });

  test("picked one by one are a folder, also as a FileList", async () => {
    const files = [new File(["{}"], "config.json"), new File(["[]"], "tokenizer.json")];
    for (const source of [files, { length: 2, 0: files[0]!, 1: files[1]! }]) {
      const folder = await openSource(source);
      expect(await folder.list?.()).toEqual(["config.json", "tokenizer.json"]);
      expect(await text(folder, "tokenizer.json")).toBe("[]");
    }
  });

  test("one of which is a whole model: a File by its name, a Blob as GGUF", async () => {
    expect(await (await openSource(new File(["GGUF"], "x.gguf"))).list?.()).toEqual(["x.gguf"]);
    const blob = await openSource(new Blob(["GGUF"]));
    expect(await blob.list?.()).toEqual(["model.gguf"]);
    const file = (await blob.open("model.gguf"))!;
    expect(new TextDecoder().decode(await file.read(1, 2))).toBe("GU");
    expect(await failure(file.read(0, 5))).toMatchObject({ code: "source" });
    const reason = new Error("enough");
    expect(await failure(file.read(0, 1, AbortSignal.abort(reason)))).toBe(reason);
  });

  test("that can be no model are refused", () => {
    expect(() => fileList([])).toThrow(/drop the folder of a model/);
    expect(() => fileList([new File([""], "model.safetensors")])).toThrow(/one file of a model/);
  });
});

test.each([
  "https://user:secret@127.0.0.1/m/",
  "https://secret@127.0.0.1/m/",
  " https://user:secret@127.0.0.1/m/",
  "https://user:se/secret@127.0.0.1/m/",
  "ftp://user:secret@127.0.0.1/m/",
])("%s is refused at once, and shown nowhere", async (url) => {
  const places: [string, () => Promise<unknown>][] = [
    ["source", () => openSource(url)],
    ["source", () => removeCached(url, { cache: { folder: temporaryFolder() } })],
    ["endpoint", () => openSource("hf:owner/name", { endpoint: url })],
    ["endpoint", () => openSource("hf:owner/name", { endpoint: url.replace(/^.*\/\/(?=\w*:?\w*@)/, "") })],
  ];
  if (URL.canParse(url)) places.push(["source", () => openSource(new URL(url))]);
  for (const [field, opening] of places) {
    const error = (await failure(opening())) as Error;
    expect(error).toMatchObject({ code: "invalid-input", field });
    expect(error.cause).toBeUndefined();
    expect(`${error.message} ${error.stack} ${JSON.stringify(error)}`).not.toContain("secret");
  }
});

test.each<[string, unknown]>([
  ["cache.whenfull", { whenfull: "uncached" }],
  ["cache.whenFull", { whenFull: "ignore" }],
  ["cache.folder", { folder: 42 }],
  ["cache", "/tmp/cache"],
  ["cache", null],
])("%s is checked, whatever the source", async (field, cache) => {
  const options = { cache } as SourceOptions;
  const expected = { code: "invalid-input", field };
  for (const source of [undefined, STORIES, new Blob(["GGUF"]), "hf:owner/name"]) {
    expect(await failure(openSource(source, options))).toMatchObject(expected);
  }
  expect(await failure(listCached(options))).toMatchObject(expected);
});

test.each([[42], [null], [{}], [["config.json"]], [true]])("%s is no source", async (source) => {
  expect(await failure(openSource(source as unknown as ModelSource))).toMatchObject({
    code: "invalid-input",
    field: "source",
  });
});
