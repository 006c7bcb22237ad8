/** Servers that break off, refuse, lie and change their mind, through the cache: the right bytes or an error that says why. */

import { gzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test } from "vitest";
import { CHUNK_BYTES } from "../../src/cache/chunks.ts";
import type { Source } from "../../src/weights/source.ts";
import { type Asked, HubServer, type Meddler } from "../sources/hub_server.ts";
import { failure, temporaryFolder } from "../weights/model_folder.ts";
import { chunksBelow, expectSame, LARGE, LARGE_BYTES, open, place, randomBytes, readAll, SMALL } from "./downloads.ts";

const MODEL = "hf:owner/name";

/** A request for the large file where its bytes are. */
function isForBytes({ at, path }: Asked): boolean {
  return at === "cdn" && path.endsWith(LARGE);
}

describe("a connection that drops", () => {
  test("is taken up at the byte where it broke, as often as it brings something", async () => {
    const { server, options } = await place();
    const expected = server.files.get(LARGE);
    server.meddle = (asked, response) => {
      if (!isForBytes(asked)) return false;
      server.send(response, server.files.get(LARGE)!, asked.range, { cut: 1_000_003 });
      return true;
    };
    expectSame(await readAll(await open(MODEL, options), LARGE), expected);
    const ranges = server.downloads.filter(isForBytes).map(({ range }) => range!);
    expect(ranges.length).toBeGreaterThan(9);
    for (const [i, [begin, end]] of ranges.slice(0, -1).entries()) {
      expect(ranges[i + 1]![0]).toBe(Math.min(begin + 1_000_003, end));
    }
    expect(server.sent).toBe(LARGE_BYTES);
  });

  test("ends in an error when nothing comes any more, and the next load goes on at the chunk", async () => {
    const { server, folder, options } = await place();
    let broken = true;
    server.meddle = (asked, response) => {
      if (!broken || !isForBytes(asked)) return false;
      const missing = CHUNK_BYTES + 1000 - asked.range![0];
      if (missing > 0) server.send(response, server.files.get(LARGE)!, asked.range, { cut: missing });
      else response.destroy();
      return true;
    };
    const error = await failure(open(MODEL, options).then((folder) => readAll(folder, LARGE)));
    expect(error).toMatchObject({ code: "source", message: expect.stringMatching(/broke off|could not be fetched/) });
    expect(chunksBelow(folder)).toHaveLength(1);

    broken = false;
    server.sent = 0;
    expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
    expect(server.sent).toBe(LARGE_BYTES - CHUNK_BYTES);
  });

  test("that falls silent is left and taken up", async () => {
    const { server, options } = await place();
    let silent = true;
    server.meddle = (asked, response) => {
      if (!silent || !isForBytes(asked)) return false;
      silent = false;
      const file = server.files.get(LARGE)!;
      const [begin, end] = asked.range!;
      response.writeHead(206, {
        "content-length": end - begin,
        "content-range": `bytes ${begin}-${end - 1}/${file.length}`,
      });
      response.write(file.subarray(0, 5000));
      return true;
    };
    expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
    expect(server.downloads.filter(isForBytes)[1]?.range?.[0]).toBe(5000);
  });
});

describe("a status", () => {
  test.each([500, 502, 503, 504, 408])("%i passes and is asked again", async (status) => {
    const { server, options } = await place();
    let refusals = 2;
    server.meddle = (asked, response) => {
      if (refusals === 0 || asked.path.endsWith(LARGE) === false) return false;
      refusals--;
      response.writeHead(status).end();
      return true;
    };
    expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
  });

  test.each<[string, () => string]>([
    ["seconds", () => "1"],
    ["a date", () => new Date(Date.now() + 2000).toUTCString()],
  ])("429 waits as long as Retry-After says in %s", async (_, retryAfter) => {
    const { server, options } = await place();
    let refusedAt = 0;
    let askedAgain = 0;
    server.meddle = (asked, response) => {
      if (!isForBytes(asked)) return false;
      askedAgain ||= refusedAt && Date.now();
      if (refusedAt) return false;
      refusedAt = Date.now();
      response.writeHead(429, { "retry-after": retryAfter() }).end();
      return true;
    };
    expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
    expect(askedAgain - refusedAt).toBeGreaterThanOrEqual(990);
  });

  test.each<[number, RegExp]>([
    [400, /answered 400/],
    [401, /gated: accept its licence at http:\S+\/owner\/name and pass an access token/],
    [403, /gated: accept its licence/],
    [404, /answered 404/],
    [429, /answered 429 .*retry after 3600/],
    [500, /answered 500/],
  ])("%i that stays is an error with the status", async (status, reason) => {
    const refusing =
      (refused: (asked: Asked) => boolean): Meddler =>
      (asked, response) => {
        if (!refused(asked)) return false;
        response.writeHead(status, status === 429 ? { "retry-after": "3600" } : {}).end();
        return true;
      };
    const { server, folder, options } = await place();
    const expected = { code: "source", status, message: expect.stringMatching(reason) };
    server.meddle = refusing(({ path }) => path.startsWith("/api/"));
    expect(await failure(open(MODEL, options))).toMatchObject(expected);
    server.meddle = refusing(({ at, path }) => at === "hub" && path.endsWith(LARGE));
    expect(await failure(open(MODEL, options).then((folder) => readAll(folder, LARGE)))).toMatchObject(expected);
    expect(chunksBelow(folder)).toEqual([]);
  });
});

describe("a server without ranges", () => {
  const whole: Meddler = (asked, response, server) => {
    if (asked.path.startsWith("/api/") || !isForBytes(asked)) return false;
    server.send(response, server.files.get(LARGE)!, undefined);
    return true;
  };

  test("is streamed once into the cache, whatever is read first", async () => {
    const { server, options } = await place();
    server.meddle = whole;
    const folder = await open(MODEL, options);
    const source = (await folder.open(LARGE))!;
    const end = await source.read(LARGE_BYTES - 10, 10);
    expectSame(Buffer.from(end), server.files.get(LARGE)!.subarray(-10));
    expectSame(await readAll(folder, LARGE), server.files.get(LARGE));
    await source.close();
    expect(server.sent).toBe(LARGE_BYTES);
  });

  test("that drops is fetched again and skipped to where it broke", async () => {
    const { server, options } = await place();
    let cut: number | undefined = 5_000_000;
    server.meddle = (asked, response) => {
      if (!isForBytes(asked)) return false;
      server.send(response, server.files.get(LARGE)!, undefined, { cut });
      cut = undefined;
      return true;
    };
    expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
    expect(server.sent).toBe(5_000_000 + LARGE_BYTES);
  });
});

describe("a length that is wrong", () => {
  test.each<[string, number, RegExp]>([
    ["fewer bytes than the range", -1, /asked for bytes .*, the server sent \d+ bytes/],
    ["more bytes than the range", 1, /asked for bytes .*, the server sent \d+ bytes/],
  ])("%s: reported, and nothing of it is kept", async (_, difference, reason) => {
    const { server, folder, options } = await place();
    server.meddle = (asked, response) => {
      if (!isForBytes(asked)) return false;
      const file = server.files.get(LARGE)!;
      const [begin, end] = asked.range!;
      const body = Buffer.concat([file.subarray(begin, end), Buffer.alloc(1)]).subarray(0, end - begin + difference);
      response.writeHead(206, {
        "content-length": body.length,
        "content-range": `bytes ${begin}-${end - 1}/${file.length}`,
      });
      response.end(body);
      return true;
    };
    const error = await failure(open(MODEL, options).then((folder) => readAll(folder, LARGE)));
    expect(error).toMatchObject({ code: "source", message: expect.stringMatching(reason) });
    expect(chunksBelow(folder)).toEqual([]);
  });

  test("a Content-Length above what comes is a connection that drops: taken up, or reported", async () => {
    const { server, options } = await place();
    let lies = 1;
    server.meddle = (asked, response) => {
      if (!isForBytes(asked) || lies === 0) return false;
      lies--;
      const file = server.files.get(LARGE)!;
      const [begin, end] = asked.range!;
      response.writeHead(206, {
        "content-length": end - begin,
        "content-range": `bytes ${begin}-${end - 1}/${file.length}`,
      });
      response.write(file.subarray(begin, end - 100_000), () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
  });
});

describe("files below a URL", () => {
  /** A plain server of one file, whose content and ETag tests change. */
  async function plain(
    file: Buffer,
  ): Promise<{ server: HubServer; url: string; options: { cache: { folder: string } } }> {
    const server = await HubServer.start({ [LARGE]: file });
    onTestFinished(() => server.stop());
    server.meddle = ({ path, range }, response) => {
      const found = server.files.get(path.slice("/models/".length));
      if (found) server.send(response, found, range);
      else response.writeHead(404).end();
      return true;
    };
    return { server, url: `${server.endpoint}/models`, options: { cache: { folder: temporaryFolder() } } };
  }

  test("are fetched once, asked for again, and read without the server too", async () => {
    const file = randomBytes(LARGE_BYTES);
    const { server, url, options } = await plain(file);
    const first = await open(url, options);
    expectSame(await readAll(first, LARGE), file);
    expect(await first.open("absent.json")).toBeUndefined();
    expect(server.sent).toBe(LARGE_BYTES);
    server.sent = 0;
    expectSame(await readAll(await open(`${url}/`, options), LARGE), file);
    // The request that asks whether the file has changed brings its beginning.
    expect(server.sent).toBe(64 * 1024);
    await server.stop();
    const offline = await open(url, options);
    expectSame(await readAll(offline, LARGE), file);
    expect(await offline.open("absent.json")).toBeUndefined();
    expect(await failure(offline.open("never-asked.json"))).toMatchObject({ code: "source" });
  });

  test("that change between two loads are fetched anew, and the old copy goes", async () => {
    const { server, url, options } = await plain(randomBytes(LARGE_BYTES));
    await readAll(await open(url, options), LARGE);
    const changed = randomBytes(LARGE_BYTES - 1);
    server.files.set(LARGE, changed);
    expectSame(await readAll(await open(url, options), LARGE), changed);
    expect(chunksBelow(options.cache.folder)).toHaveLength(3);
  });

  test("that change between two requests of a load are an error, and never a mixture", async () => {
    const { server, url, options } = await plain(randomBytes(LARGE_BYTES));
    const folder = await open(url, options);
    const source = (await folder.open(LARGE)) as Source;
    server.files.set(LARGE, randomBytes(LARGE_BYTES));
    const error = await failure(source.read(0, LARGE_BYTES));
    expect(error).toMatchObject({ code: "source", message: expect.stringMatching(/the file has changed/) });
    await source.close();
    expectSame(await readAll(await open(url, options), LARGE), server.files.get(LARGE));
  });

  test("that are compressed on the fly are kept too", async () => {
    const file = randomBytes(LARGE_BYTES);
    const { server, url, options } = await plain(file);
    const packed = gzipSync(file, { level: 1 });
    let etag = '"packed"';
    let sent = 0;
    server.meddle = (_, response) => {
      sent++;
      response.writeHead(200, { "content-encoding": "gzip", "content-length": packed.length, etag });
      response.end(packed);
      return true;
    };
    expectSame(await readAll(await open(url, options), LARGE), file);
    const requests = sent;
    expectSame(await readAll(await open(url, options), LARGE), file);
    expect(sent - requests).toBe(1);
    etag = '"packed anew"';
    expectSame(await readAll(await open(url, options), LARGE), file);
    expect(chunksBelow(options.cache.folder)).toHaveLength(3);
    await server.stop();
    expectSame(await readAll(await open(url, options), LARGE), file);
  });

  test("without an ETag are kept for the load, and for when the server is away", async () => {
    const file = randomBytes(LARGE_BYTES);
    const { server, url, options } = await plain(file);
    let sent = 0;
    server.meddle = ({ range }, response) => {
      const found = server.files.get(LARGE)!;
      const [begin, end] = [range![0], Math.min(range![1], found.length)];
      response.writeHead(206, { "content-range": `bytes ${begin}-${end - 1}/${found.length}` });
      response.end(found.subarray(begin, end));
      sent += end - begin;
      return true;
    };
    expectSame(await readAll(await open(url, options), LARGE), file);
    expect(sent).toBe(LARGE_BYTES);
    const changed = randomBytes(LARGE_BYTES);
    server.files.set(LARGE, changed);
    expectSame(await readAll(await open(url, options), LARGE), changed);
    await server.stop();
    expectSame(await readAll(await open(url, options), LARGE), changed);
    expect(chunksBelow(options.cache.folder)).toHaveLength(3);
  });
});

test("an abort ends a download at once; the next load goes on where it stopped", async () => {
  const { server, folder, options } = await place();
  const reason = new Error("enough");
  const aborter = new AbortController();
  let stuck = true;
  server.meddle = (asked, response) => {
    if (!stuck || !isForBytes(asked) || asked.range![0] === 0) return false;
    const file = server.files.get(LARGE)!;
    const [begin, end] = asked.range!;
    response.writeHead(206, {
      "content-length": end - begin,
      "content-range": `bytes ${begin}-${end - 1}/${file.length}`,
    });
    response.write(file.subarray(begin, begin + 1000));
    return true;
  };
  const opened = await open(MODEL, options);
  const source = (await opened.open(LARGE))!;
  await source.read(0, 10);
  const read = source.read(CHUNK_BYTES, 10, aborter.signal);
  const begun = performance.now();
  setTimeout(() => aborter.abort(reason), 20);
  expect(await failure(read)).toBe(reason);
  expect(performance.now() - begun).toBeLessThan(500);
  await source.close();
  expect(chunksBelow(folder)).toHaveLength(1);
  stuck = false;
  server.sent = 0;
  expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
  expect(server.sent).toBe(LARGE_BYTES - CHUNK_BYTES);
});

describe("an access token", () => {
  const TOKEN = "hf_secret_of_the_test";

  test("goes to the hub and nowhere else, and is in no error and no file", async () => {
    const { server, folder, options } = await place();
    const repos: string[] = [];
    const token = async (repo: string) => {
      repos.push(repo);
      return TOKEN;
    };
    const opened = await open(MODEL, { ...options, token });
    expectSame(await readAll(opened, LARGE), server.files.get(LARGE));
    expectSame(await readAll(opened, SMALL), server.files.get(SMALL));
    const secrets = (at: string) =>
      new Set(server.asked.filter((asked) => asked.at === at).map((a) => a.authorization));
    expect(secrets("hub")).toEqual(new Set([`Bearer ${TOKEN}`]));
    expect(secrets("cdn")).toEqual(new Set([undefined]));
    expect(new Set(repos)).toEqual(new Set(["owner/name"]));

    server.meddle = (_, response) => {
      response.writeHead(403).end();
      return true;
    };
    const refused = (await failure(open(`${MODEL}@gated`, { ...options, token: TOKEN }))) as Error;
    expect(refused).toMatchObject({ code: "source", status: 403 });
    for (let error: unknown = refused; error instanceof Error; error = error.cause) {
      expect(`${error.message} ${error.stack} ${JSON.stringify(error)}`).not.toContain(TOKEN);
    }
    const { execFileSync } = await import("node:child_process");
    const found = () => execFileSync("grep", ["-r", "-l", TOKEN, folder], { encoding: "utf8" });
    expect(found).toThrow(); // grep finds nothing
  });

  test.each(["hf_one\nhf_two", "hf_öne", "hf_one\0"])(
    "that no header can hold is refused unseen (%j)",
    async (token) => {
      const { server, options } = await place();
      const refused = (await failure(open(MODEL, { ...options, token }))) as Error;
      expect(refused).toMatchObject({ code: "invalid-input", field: "token" });
      expect(refused.cause).toBeUndefined();
      expect(`${refused.message} ${refused.stack} ${JSON.stringify(refused)}`).not.toMatch(/hf_/);
      expect(server.asked).toEqual([]);
    },
  );

  test("does not go to a mirror that files were redirected to, nor to a URL that is not the hub's", async () => {
    const { server, options } = await place();
    const other = await HubServer.start({ [SMALL]: Buffer.from("{}") });
    onTestFinished(() => other.stop());
    other.meddle = ({ range }, response) => {
      other.send(response, other.files.get(SMALL)!, range);
      return true;
    };
    await readAll(await open(`${other.endpoint}/models/x/`, { ...options, token: TOKEN }), SMALL);
    expect(other.asked.map(({ authorization }) => authorization)).toEqual([undefined]);
    server.meddle = ({ path }, response) => {
      if (path.startsWith("/api/")) return false;
      response.writeHead(302, { location: `${other.endpoint}/models/x/${SMALL}` }).end();
      return true;
    };
    await open(MODEL, { ...options, token: TOKEN })
      .then((folder) => readAll(folder, SMALL))
      .catch(() => {});
    expect(other.asked.length).toBeGreaterThan(1);
    for (const { authorization } of other.asked) expect(authorization).toBeUndefined();
  });
});
