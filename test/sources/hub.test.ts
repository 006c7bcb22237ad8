/** Names of models on the hub, and which files they stand for. */

import { describe, expect, onTestFinished, test } from "vitest";
import { hubReferenceOf, parseHubReference } from "../../src/sources/hub_reference.ts";
import { openSource } from "../../src/sources/open.ts";
import type { SourceOptions } from "../../src/types.ts";
import { failure } from "../weights/model_folder.ts";
import { HubServer } from "./hub_server.ts";
import { QUICK } from "./quick.ts";

describe("a name", () => {
  test.each<[string, string, string, string]>([
    ["hf:owner/name", "owner/name", "main", ""],
    ["hf://owner/name/", "owner/name", "main", ""],
    ["HF:owner/na.me_1-B@v1.0", "owner/na.me_1-B", "v1.0", ""],
    ["hf:owner/name@refs%2Fpr%2F1", "owner/name", "refs/pr/1", ""],
    ["hf:owner/name/model-Q4_0.gguf", "owner/name", "main", "model-Q4_0.gguf"],
    ["hf:owner/name@main/sub/folder", "owner/name", "main", "sub/folder"],
    ["hf:owner/name/a b+c.gguf", "owner/name", "main", "a b+c.gguf"],
  ])("%s is read", (source, repo, revision, path) => {
    expect(parseHubReference(source)).toEqual({ repo, revision, path });
  });

  test.each([
    "hf:",
    "hf:name",
    "hf:owner/",
    "hf:owner/name@",
    "hf:owner/name@a@b",
    "hf:../name",
    "hf:owner/..",
    "hf:owner/name/../other",
    "hf:owner/name/%2e%2e/x",
    "hf:owner/name//x",
    "hf:ow ner/name",
    "hf:owner/name@..%2F..%2Fx",
  ])("%s is refused", (source) => {
    expect(() => parseHubReference(source)).toThrow(/is not of the form hf:owner\/name/);
  });
});

describe("an address of the hub's pages", () => {
  const hub = new URL("https://huggingface.co");

  test.each<[string, string, string, string]>([
    ["https://huggingface.co/owner/name", "owner/name", "main", ""],
    ["https://huggingface.co/owner/name/", "owner/name", "main", ""],
    ["https://huggingface.co/owner/name/tree/v1", "owner/name", "v1", ""],
    ["https://huggingface.co/owner/name/tree/main/sub", "owner/name", "main", "sub"],
    ["https://huggingface.co/owner/name/blob/main/x.gguf", "owner/name", "main", "x.gguf"],
    ["https://huggingface.co/owner/name/resolve/main/x.gguf?download=true", "owner/name", "main", "x.gguf"],
  ])("%s is the model", (url, repo, revision, path) => {
    expect(hubReferenceOf(new URL(url), hub)).toEqual({ repo, revision, path });
  });

  test.each([
    "https://huggingface.co/",
    "https://huggingface.co/owner",
    "https://huggingface.co/datasets/owner/name",
    "https://huggingface.co/owner/name/discussions/1",
    "https://other.example/owner/name",
  ])("%s is none", (url) => {
    expect(hubReferenceOf(new URL(url), hub)).toBeUndefined();
  });

  test("of a mirror below a path is read below it", () => {
    const mirror = new URL("https://mirror.example/hf/");
    expect(hubReferenceOf(new URL("https://mirror.example/hf/owner/name"), mirror)?.repo).toBe("owner/name");
    expect(hubReferenceOf(new URL("https://mirror.example/owner/name"), mirror)).toBeUndefined();
  });
});

describe("a repository", () => {
  const FILES = {
    "config.json": Buffer.from("{}"),
    "a-Q4_0.gguf": Buffer.from("GGUF a"),
    "b-Q8_0.gguf": Buffer.from("GGUF b"),
    "sub/config.json": Buffer.from('{"sub":1}'),
    "sub/50% #1.json": Buffer.from("[]"),
  };

  async function place(): Promise<{ server: HubServer; options: SourceOptions }> {
    const server = await HubServer.start(FILES);
    onTestFinished(() => server.stop());
    return { server, options: { endpoint: server.endpoint, cache: false } };
  }

  const open = (source: string | URL, options: SourceOptions) => openSource(source, options, QUICK);

  async function text(source: string | URL, path: string, options: SourceOptions): Promise<string | undefined> {
    const file = await (await open(source, options)).open(path);
    return file && new TextDecoder().decode(await file.read(0, file.size));
  }

  test("lists the files of its root, of a folder in it, and of one file", async () => {
    const { options } = await place();
    const list = async (source: string) => [...(await (await open(source, options)).list!())].sort();
    expect(await list("hf:owner/name")).toEqual(["a-Q4_0.gguf", "b-Q8_0.gguf", "config.json"]);
    expect(await list("hf:owner/name/sub")).toEqual(["50% #1.json", "config.json"]);
    expect(await list("hf:owner/name@main/a-Q4_0.gguf")).toEqual(["a-Q4_0.gguf"]);
  });

  test("gives the files below the path, and none outside it", async () => {
    const { server, options } = await place();
    expect(await text("hf:owner/name/sub", "config.json", options)).toBe('{"sub":1}');
    expect(await text("hf:owner/name/sub", "50% #1.json", options)).toBe("[]");
    expect(await text("hf:owner/name/sub", "../config.json", options)).toBeUndefined();
    expect(await text("hf:owner/name/a-Q4_0.gguf", "a-Q4_0.gguf", options)).toBe("GGUF a");
    expect(await text("hf:owner/name/a-Q4_0.gguf", "b-Q8_0.gguf", options)).toBeUndefined();
    expect(await text(new URL("owner/name/tree/main/sub", server.endpoint), "config.json", options)).toBe('{"sub":1}');
    for (const { path } of server.downloads) expect(path).toContain(`/resolve/${server.commit}/`);
  });

  test("without such a path says what there is", async () => {
    const { options } = await place();
    expect(await failure(open("hf:owner/name/x.gguf", options))).toMatchObject({
      code: "source",
      message: expect.stringMatching(/no such file or folder in owner\/name: it has a-Q4_0.gguf, b-Q8_0.gguf$/),
    });
    expect(await failure(open("hf:owner/name/config.json", options))).toMatchObject({
      message: expect.stringMatching(/one file of a model/),
    });
    expect(await failure(open("hf:owner/other", options))).toMatchObject({
      status: 404,
      message: expect.stringMatching(/there is no owner\/other or no such revision/),
    });
    expect(await failure(open("hf:owner/name@absent", options))).toMatchObject({ status: 404 });
  });

  test("on a mirror that tells neither sizes nor sums is read all the same", async () => {
    const { server, options } = await place();
    server.meddle = ({ path }, response) => {
      if (!path.startsWith("/api/")) return false;
      const siblings = [...server.files.keys()].map((rfilename) => ({ rfilename }));
      response.end(JSON.stringify({ sha: server.commit, siblings }));
      return true;
    };
    expect(await text("hf:owner/name", "config.json", options)).toBe("{}");
    expect(await text("hf:owner/name", "absent", options)).toBeUndefined();
  });

  test("whose server answers something else is an error that quotes it", async () => {
    const { server, options } = await place();
    let body = "";
    server.meddle = (_, response) => {
      response.end(body);
      return true;
    };
    const answers = ["<html>Welcome</html>", "{}", '{"sha":"../x","siblings":[]}', '{"sha":"ab","siblings":[{}]}'];
    for (const answer of answers) {
      body = answer;
      expect(await failure(open("hf:owner/name", options)), answer).toMatchObject({ code: "file-format" });
    }
  });

  test("is looked up at HF_ENDPOINT where no endpoint is given", async () => {
    const { server } = await place();
    process.env.HF_ENDPOINT = server.endpoint;
    try {
      expect(await text("hf:owner/name", "config.json", { cache: false })).toBe("{}");
    } finally {
      delete process.env.HF_ENDPOINT;
    }
  });

  test("at an endpoint that is no URL is refused", async () => {
    for (const endpoint of ["mirror", "ftp://mirror", ""]) {
      const error = await failure(open("hf:owner/name", { endpoint, cache: false }));
      expect(error, endpoint).toMatchObject({ code: "invalid-input", field: "endpoint" });
    }
  });
});
