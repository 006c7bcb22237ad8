import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { SourceError } from "../../src/errors.ts";
import { httpFolder } from "../../src/sources/http_folder.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import type { Source } from "../../src/weights/source.ts";
import { failure, SHARDED, STORIES, temporaryFolder } from "../weights/model_folder.ts";
import {
  type Behaviour,
  compressing,
  compressingRanges,
  fallingBackToPage,
  fallingBackToRangeOfPage,
  hidingContentRange,
  honouringRanges,
  ignoringRanges,
  serve,
} from "../weights/model_server.ts";
import { QUICK } from "./quick.ts";

/** The folder below a URL, without a cache. */
const openFolder = (url: string | URL) => httpFolder(new URL(url), { retry: QUICK });

const WEIGHTS = "model.safetensors";
const BYTES = readFileSync(join(STORIES, WEIGHTS));

async function open(behaviour: Behaviour, file = WEIGHTS, folder = STORIES): Promise<Source> {
  const { url } = await serve(folder, behaviour);
  return (await openFolder(url).open(file))!;
}

/** A source error that names the file and says why. */
function sourceError(reason: RegExp) {
  return expect.objectContaining({
    name: "SourceError",
    code: "source",
    file: expect.stringMatching(/^http:.*\/model\.safetensors$/),
    message: expect.stringMatching(reason),
  });
}

describe.each<[string, Behaviour]>([
  ["gives ranges", honouringRanges],
  ["ignores ranges", ignoringRanges],
  ["compresses on the fly", compressing],
  ["compresses and gives ranges of that", compressingRanges],
  ["hides Content-Range", hidingContentRange],
  ["falls back to a page", fallingBackToPage],
  ["falls back to a range of a page", fallingBackToRangeOfPage],
  ["refuses ranges", (file, range, url) => (range ? { status: 416 } : honouringRanges(file, range, url))],
  [
    "knows no size",
    (file, range, url) => {
      const answer = honouringRanges(file, range, url);
      const contentRange = String(answer.headers?.["content-range"]).replace(/\d+$/, "*");
      return answer.headers ? { ...answer, headers: { "content-range": contentRange } } : answer;
    },
  ],
])("a server that %s", (_, behaviour) => {
  test("gives the file's size and exactly the bytes asked for", async () => {
    const source = await open(behaviour);
    expect(source.size).toBe(BYTES.length);
    for (const [offset, length] of [
      [0, 8],
      [0, 0],
      [65_530, 12],
      [70_000, 100_000],
      [BYTES.length - 5, 5],
      [BYTES.length, 0],
      [0, BYTES.length],
    ] as const) {
      const bytes = await source.read(offset, length);
      expect(bytes.length).toBe(length);
      expect(bytes.byteOffset + bytes.length).toBeLessThanOrEqual(bytes.buffer.byteLength);
      expect(Buffer.from(bytes).equals(BYTES.subarray(offset, offset + length)), `${length} bytes at ${offset}`).toBe(
        true,
      );
    }
    await source.close();
  });

  test("has no file where there is none", async () => {
    const { url } = await serve(STORIES, behaviour);
    expect(await openFolder(url).open("absent.json")).toBeUndefined();
  });

  test("gives whole models", async () => {
    for (const model of [STORIES, SHARDED]) {
      const { url } = await serve(model, behaviour);
      const checkpoint = await openCheckpoint(openFolder(url));
      const { finalNorm } = checkpoint.tensors;
      const { source, offset, byteLength } = checkpoint.tensor(finalNorm);
      const onDisk = readFileSync(join(model, source.name.slice(url.length)));
      expect(
        Buffer.from(await source.read(offset, byteLength)).equals(onDisk.subarray(offset, offset + byteLength)),
      ).toBe(true);
      await checkpoint.close();
    }
  });

  test("gives an empty file", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "empty"), "");
    const source = await open(behaviour, "empty", folder);
    expect(source.size).toBe(0);
    expect(await source.read(0, 0)).toHaveLength(0);
  });

  test("is asked for nothing outside the file", async () => {
    const source = await open(behaviour);
    for (const [offset, length] of [
      [0, BYTES.length + 1],
      [-1, 4],
      [BYTES.length, 1],
      [0, -1],
      [Number.NaN, 1],
    ] as const) {
      expect(await failure(source.read(offset, length))).toBeInstanceOf(SourceError);
    }
  });
});

describe("requests", () => {
  test("a small file takes one, a large one is never fetched whole", async () => {
    const { url, requests } = await serve(STORIES, honouringRanges);
    const folder = openFolder(url);
    const config = (await folder.open("config.json"))!;
    await config.read(0, config.size);
    expect(requests).toEqual(["GET /config.json bytes=0-65535"]);
    const weights = (await folder.open(WEIGHTS))!;
    await weights.read(100_000, 10);
    expect(requests.slice(1)).toEqual([`GET /${WEIGHTS} bytes=0-65535`, `GET /${WEIGHTS} bytes=100000-100009`]);
  });

  test("a server without ranges has a file fetched once", async () => {
    const { url, requests } = await serve(STORIES, ignoringRanges);
    const weights = (await openFolder(url).open(WEIGHTS))!;
    for (let offset = 0; offset < 5; offset++) await weights.read(offset * 1000, 1000);
    expect(requests).toHaveLength(1);
  });

  test("the folder's URL may lack the slash, carry a query and need escapes", async () => {
    const root = temporaryFolder();
    mkdirSync(join(root, "a b"));
    writeFileSync(join(root, "a b", "50% #1.json"), "{}");
    const queries: string[] = [];
    const { url } = await serve(root, (file, range, asked) => {
      queries.push(asked.search);
      return honouringRanges(file, range, asked);
    });
    for (const base of ["a b", "a b/", "a%20b/?token=x#top"]) {
      expect((await openFolder(new URL(base, url)).open("50% #1.json"))?.size, base).toBe(2);
    }
    expect(queries).toEqual(["", "", "?token=x"]);
    expect(httpFolder(new URL("a b#top", url)).name).toBe(`${url}a%20b/`);
  });
});

describe("failures", () => {
  test.each([500, 403, 429, 301])("status %i on opening", async (status) => {
    const { url } = await serve(STORIES, () => ({ status }));
    expect(await failure(openFolder(url).open(WEIGHTS))).toEqual(sourceError(new RegExp(`answered ${status}`)));
  });

  test("status 500 on a later read", async () => {
    const source = await open((file, range, url) =>
      range?.[0] === 0 ? honouringRanges(file, range, url) : { status: 500 },
    );
    expect(await failure(source.read(100_000, 10))).toEqual(sourceError(/answered 500/));
  });

  test.each<[string, Behaviour, RegExp]>([
    ["whole", fallingBackToPage, /answered 200/],
    ["by ranges", fallingBackToRangeOfPage, /answered 416/],
  ])("a file that vanishes between two reads, for a page given %s", async (_, behaviour, reason) => {
    const source = await open((file, range, url) => behaviour(range?.[0] === 0 ? file : undefined, range, url));
    expect(await failure(source.read(100_000, 10))).toEqual(sourceError(reason));
  });

  test("no server", async () => {
    const refused = await failure(openFolder("http://127.0.0.1:1/").open(WEIGHTS));
    expect(refused).toEqual(sourceError(/could not be fetched \(.+\): check the address and the network$/));
    expect((refused as Error).cause).toBeInstanceOf(TypeError);
  });

  test.each<[string, Behaviour]>([
    ["with ranges", honouringRanges],
    ["without ranges", ignoringRanges],
  ])("connections that drop without a byte gained, %s", async (_, behaviour) => {
    let cut = true;
    const { url } = await serve(STORIES, (...request) => ({ ...behaviour(...request), cut, sent: 0 }));
    const source = await openFolder(url)
      .open(WEIGHTS)
      .catch((error: unknown) => error);
    // Without ranges everything is fetched on opening.
    const reason = source instanceof Error ? source : await failure((source as Source).read(0, BYTES.length));
    expect(reason).toEqual(sourceError(/broke off/));
    cut = false;
    expect(await (await openFolder(url).open(WEIGHTS))!.read(0, 8)).toEqual(Uint8Array.from(BYTES.subarray(0, 8)));
  });

  test("fewer bytes than the range says", async () => {
    const source = await open((file, range, url) => {
      const answer = honouringRanges(file, range, url);
      return range![0] > 0 ? { ...answer, body: (answer.body as Buffer).subarray(1) } : answer;
    });
    expect(await failure(source.read(100_000, 10))).toEqual(sourceError(/sent 9 bytes/));
  });

  test("fewer bytes than announced, as a service worker may answer", async () => {
    onTestFinished(() => void vi.unstubAllGlobals());
    vi.stubGlobal("fetch", async () => new Response("12345", { headers: { "content-length": "6" } }));
    expect(await failure(openFolder("http://host/").open(WEIGHTS))).toEqual(
      sourceError(/announced 6 bytes and sent 5/),
    );
  });

  test("another range than the one asked for", async () => {
    const source = await open((file, range, url) =>
      honouringRanges(file, range![0] > 0 ? [range![0] + 1, range![1]] : range, url),
    );
    expect(await failure(source.read(100_000, 10))).toEqual(sourceError(/100001-100009/));
  });

  test("a file that grows between two reads", async () => {
    const source = await open((file, range, url) =>
      honouringRanges(range![0] > 0 ? Buffer.concat([file!, Buffer.of(1)]) : file, range, url),
    );
    expect(await failure(source.read(100_000, 10))).toEqual(sourceError(/did the file change/));
  });

  test.each(["etag", "last-modified"])("a file of the same size that is another one by its %s", async (header) => {
    const source = await open((file, range, url) => {
      const answer = honouringRanges(file, range, url);
      return { ...answer, headers: { ...answer.headers, [header]: range![0] > 0 ? '"new"' : '"old"' } };
    });
    expect(await failure(source.read(100_000, 10))).toEqual(sourceError(/was "old" and is "new" now/));
  });

  test("a server that stops giving ranges still gives right bytes, or an error where the file changed", async () => {
    const stopping =
      (grown: Uint8Array): Behaviour =>
      (file, range, url) =>
        range?.[0] === 0 ? honouringRanges(file, range, url) : { body: Buffer.concat([file!, grown]) };
    const source = await open(stopping(new Uint8Array(0)));
    for (const offset of [100_000, 200_000]) {
      expect(Buffer.from(await source.read(offset, 10)).equals(BYTES.subarray(offset, offset + 10))).toBe(true);
    }
    expect(await failure((await open(stopping(Buffer.of(1)))).read(100_000, 10))).toEqual(sourceError(/has changed/));
  });

  test("a store that answers 403 for what it lacks: optional files may be missing, others not", async () => {
    const forbidding =
      (...names: string[]): Behaviour =>
      (file, range, url) =>
        names.some((name) => url.pathname.endsWith(name)) ? { status: 403 } : honouringRanges(file, range, url);
    const optional = await serve(STORIES, forbidding("/generation_config.json", "/tokenizer_config.json"));
    const checkpoint = await openCheckpoint(openFolder(optional.url));
    expect(checkpoint.spec.eosTokenIds).toEqual([1]);
    await checkpoint.close();
    const { url } = await serve(STORIES, forbidding("/config.json"));
    expect(await failure(openCheckpoint(openFolder(url)))).toMatchObject({ name: "SourceError", status: 403 });
  });

  test("a page where the weights should be ends in the error that they are missing", async () => {
    const { url } = await serve(STORIES, (file, range, url) =>
      fallingBackToPage(url.pathname.endsWith(".safetensors") ? undefined : file, range, url),
    );
    const error = await failure(openCheckpoint(openFolder(url)));
    expect(error).toMatchObject({ code: "source", file: WEIGHTS });
    expect((error as Error).message).toContain(url);
  });

  test("a page that does not say what it is: the message quotes how it begins", async () => {
    const { url } = await serve(STORIES, () => ({ body: "<!doctype html><title>App</title>" }));
    const error = await failure(openCheckpoint(openFolder(url)));
    expect(error).toMatchObject({ code: "file-format", file: `${url}config.json`, field: "JSON" });
    expect((error as Error).message).toContain("<!doctype html>");
  });
});

describe("aborts", () => {
  test("before, during opening and during a read they end with the signal's reason", async () => {
    const reason = new Error("enough");
    const { url } = await serve(STORIES, honouringRanges);
    const folder = openFolder(url);
    expect(await failure(folder.open(WEIGHTS, AbortSignal.abort(reason)))).toBe(reason);

    const opening = new AbortController();
    const opened = folder.open(WEIGHTS, opening.signal);
    opening.abort(reason);
    expect(await failure(opened)).toBe(reason);

    const source = (await folder.open(WEIGHTS))!;
    expect(await failure(source.read(0, 4, AbortSignal.abort(reason)))).toBe(reason);
    const reading = new AbortController();
    const read = source.read(70_000, 900_000, reading.signal);
    reading.abort(reason);
    expect(await failure(read)).toBe(reason);
    expect(await source.read(70_000, 3)).toHaveLength(3);
  });

  test("a body that never ends can be left", async () => {
    const controller = new AbortController();
    const { url } = await serve(STORIES, (file, range, url) => {
      const answer = honouringRanges(file, range, url);
      // Sends less than it announces, and keeps the connection open.
      const body = (answer.body as Buffer).subarray(1);
      return { ...answer, body, headers: { ...answer.headers, "content-length": body.length + 1 } };
    });
    const opening = openFolder(url).open(WEIGHTS, controller.signal);
    setTimeout(() => controller.abort(), 50);
    expect(await failure(opening)).toMatchObject({ name: "AbortError" });
  });
});
