/** Models from a hub through the cache on disk: everything right once, and what is right stays. */

import { createHash } from "node:crypto";
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CHUNK_BYTES } from "../../src/cache/chunks.ts";
import type { DownloadProgress } from "../../src/types.ts";
import { failure } from "../weights/model_folder.ts";
import {
  chunksBelow,
  expectSame,
  filesBelow,
  LARGE,
  LARGE_BYTES,
  open,
  place,
  randomBytes,
  readAll,
  SMALL,
  wholeBelow,
} from "./downloads.ts";

const MODEL = "hf:owner/name";

test("a first load downloads every byte once, a second one asks only whether the revision is still the same", async () => {
  const { server, folder, options } = await place();
  const first = await open(MODEL, options);
  expect(await first.list?.()).toEqual([SMALL, LARGE]);
  for (const path of [SMALL, LARGE]) expectSame(await readAll(first, path), server.files.get(path));
  expect(server.sent).toBe(LARGE_BYTES + server.files.get(SMALL)!.length);
  expect(wholeBelow(folder, LARGE)).toBe(true);

  server.asked.length = 0;
  const second = await open(MODEL, options);
  for (const path of [SMALL, LARGE]) expectSame(await readAll(second, path), server.files.get(path));
  expect(server.asked.map(({ path }) => path)).toEqual(["/api/models/owner/name/revision/main"]);
});

test("without a server the copy in the cache is read", async () => {
  const { server, options } = await place();
  await readAll(await open(MODEL, options), LARGE);
  await readAll(await open(MODEL, options), SMALL);
  await server.stop();
  const again = await open(MODEL, options);
  for (const path of [SMALL, LARGE]) expectSame(await readAll(again, path), server.files.get(path));
  expect(await again.open("absent")).toBeUndefined();
});

test("a model that was never loaded is an error without a server", async () => {
  const { server, options } = await place();
  await server.stop();
  expect(await failure(open(MODEL, options))).toMatchObject({ code: "source", status: undefined });
});

test("a revision that is a commit is never asked for again", async () => {
  const { server, options } = await place();
  const pinned = `${MODEL}@${server.commit}`;
  await readAll(await open(pinned, options), LARGE);
  server.asked.length = 0;
  await readAll(await open(pinned, options), LARGE);
  expect(server.asked).toEqual([]);
});

test("a load stays with its commit while the revision moves on; the next one fetches only what changed", async () => {
  const { server, folder, options } = await place();
  const old = { large: server.files.get(LARGE), small: server.files.get(SMALL)! };
  const before = await open(MODEL, options);
  server.files.set(SMALL, Buffer.from("{}"));
  expectSame(await readAll(before, SMALL), old.small);
  expectSame(await readAll(before, LARGE), old.large);

  server.sent = 0;
  const after = await open(MODEL, options);
  expect(String(await readAll(after, SMALL))).toBe("{}");
  expectSame(await readAll(after, LARGE), old.large);
  expect(server.sent).toBe(2);
  // What no revision has any more is gone.
  expect(chunksBelow(folder)).toHaveLength(4);
});

test("versions that a revision still has are kept beside those of others", async () => {
  const { server, folder, options } = await place();
  const pinned = `${MODEL}@${server.commit}`;
  const old = server.files.get(SMALL);
  await readAll(await open(pinned, options), SMALL);
  for (const content of ["{}", "[]"]) {
    server.files.set(SMALL, Buffer.from(content));
    expect(String(await readAll(await open(MODEL, options), SMALL))).toBe(content);
  }
  // The one between is gone.
  expect(chunksBelow(folder)).toHaveLength(2);
  server.asked.length = 0;
  expectSame(await readAll(await open(pinned, options), SMALL), old);
  expect(server.asked).toEqual([]);
});

test("where bytes come from is told", async () => {
  const { options } = await place();
  const told: DownloadProgress[] = [];
  const onDownload = (progress: DownloadProgress) => void told.push(progress);
  await readAll(await open(MODEL, { ...options, onDownload }), LARGE);
  expect(told.at(-1)).toEqual({ file: LARGE, size: LARGE_BYTES, fetched: LARGE_BYTES, cached: 0 });
  expect(told.map(({ fetched }) => fetched)).toEqual(told.map(({ fetched }) => fetched).sort((a, b) => a - b));
  await readAll(await open(MODEL, { ...options, onDownload }), LARGE);
  expect(told.at(-1)).toEqual({ file: LARGE, size: LARGE_BYTES, fetched: 0, cached: LARGE_BYTES });
});

test("of a download that goes on, what was there counts from the beginning, and what is damaged does not", async () => {
  const { folder, options } = await place();
  const told: DownloadProgress[] = [];
  const onDownload = (progress: DownloadProgress) => void told.push(progress);
  await readAll(await open(MODEL, options), LARGE);
  const chunks = chunksBelow(folder).filter((path) => statSync(path).size > CHUNK_BYTES);
  expect(chunks).toHaveLength(2);
  rmSync(chunks[0]!);
  damage(chunks[1]!);

  const large = await (await open(MODEL, { ...options, onDownload })).open(LARGE);
  expect(told.map(({ cached }) => cached)).toEqual([LARGE_BYTES - CHUNK_BYTES]);
  await large!.read(0, LARGE_BYTES);
  await large!.close();
  const there = LARGE_BYTES - 2 * CHUNK_BYTES;
  expect(told.at(-1)).toEqual({ file: LARGE, size: LARGE_BYTES, fetched: 2 * CHUNK_BYTES, cached: there });
});

test("reads far apart, at once, give the right bytes and fetch none twice", async () => {
  const { server, options } = await place();
  const folder = await open(MODEL, options);
  const source = (await folder.open(LARGE))!;
  const offsets = [LARGE_BYTES - 10, 0, CHUNK_BYTES - 5, 2 * CHUNK_BYTES - 5, 100];
  const read = await Promise.all(offsets.map((offset) => source.read(offset, 10)));
  for (const [i, offset] of offsets.entries()) {
    expectSame(Buffer.from(read[i]!), server.files.get(LARGE)!.subarray(offset, offset + 10));
  }
  await folder.verified?.();
  await source.close();
  // Streams are left when a reader jumps: what was on its way may be sent again, but not chunks that are there.
  expect(server.downloads.filter(({ at }) => at === "cdn").length).toBeLessThanOrEqual(3);
});

test("a header takes its own chunks; ahead of a reader comes the more, the longer it goes on", async () => {
  const { server, folder, options } = await place();
  server.files.set(LARGE, randomBytes(7 * CHUNK_BYTES));
  const source = (await (await open(MODEL, options)).open(LARGE))!;
  const settled = () => new Promise((resolve) => setTimeout(resolve, 300));
  const ranges = () => server.downloads.filter(({ at }) => at === "cdn").map(({ range }) => range);
  await source.read(0, 8);
  await source.read(8, 1000);
  await settled();
  expect(chunksBelow(folder)).toHaveLength(1);
  expect(ranges()).toEqual([[0, CHUNK_BYTES]]);
  await source.read(CHUNK_BYTES, 8);
  await settled();
  expect(chunksBelow(folder)).toHaveLength(3);
  await source.read(2 * CHUNK_BYTES, 8);
  await settled();
  expect(chunksBelow(folder)).toHaveLength(5);
  await source.close();
  expect(ranges()).toHaveLength(2);
});

test("verified fetches what no read wanted", async () => {
  const { server, folder, options } = await place();
  const opened = await open(MODEL, options);
  const source = (await opened.open(LARGE))!;
  await source.read(LARGE_BYTES - 1, 1);
  expect(wholeBelow(folder, LARGE)).toBe(false);
  await opened.verified?.();
  expect(wholeBelow(folder, LARGE)).toBe(true);
  await source.close();
  await server.stop();
  expectSame(await readAll(await open(MODEL, options), LARGE), server.files.get(LARGE));
});

test.each<[string, (chunk: string) => void]>([
  ["damaged", (chunk) => damage(chunk)],
  ["half written", (chunk) => truncateSync(chunk, 1000)],
  ["gone", (chunk) => rmSync(chunk)],
])("a stored chunk that is %s is fetched again, and only it", async (_, spoil) => {
  const { server, folder, options } = await place();
  const expected = server.files.get(LARGE);
  await readAll(await open(MODEL, options), LARGE);
  spoil(chunksBelow(folder)[1]!);
  server.sent = 0;
  expectSame(await readAll(await open(MODEL, options), LARGE), expected);
  expect(server.sent).toBe(CHUNK_BYTES);
  // Without a server it is an error, not wrong bytes.
  spoil(chunksBelow(folder)[1]!);
  await server.stop();
  expect(await failure(open(MODEL, options).then((folder) => readAll(folder, LARGE)))).toMatchObject({
    code: "source",
  });
});

test("a chunk that is right in itself and not of this file is found by the whole's SHA-256", async () => {
  const { folder, options } = await place();
  const aborter = new AbortController();
  const opened = await open(MODEL, { ...options, signal: aborter.signal });
  const source = (await opened.open(LARGE))!;
  await source.read(0, 1);
  await source.close();
  const foreign = randomBytes(CHUNK_BYTES);
  writeFileSync(chunksBelow(folder)[0]!, Buffer.concat([foreign, createHash("sha256").update(foreign).digest()]));
  expect(await failure(open(MODEL, options).then((folder) => readAll(folder, LARGE)))).toMatchObject({
    code: "integrity",
  });
  expect(chunksBelow(folder)).toEqual([]);
});

test.each([LARGE, SMALL])("a file whose SHA-256 is wrong is removed and reported: %s", async (path) => {
  const { server, folder, options } = await place();
  server.files.set(SMALL, randomBytes(200_000));
  const right = server.files.get(path)!;
  const wrong = Buffer.from(right);
  wrong[right.length - 1]! ^= 1;
  let spoils = true;
  server.meddle = ({ at, path: asked, range }, response) => {
    if (!spoils || at !== "cdn" || !asked.endsWith(path)) return false;
    server.send(response, wrong, range);
    return true;
  };
  const error = await failure(open(MODEL, options).then((folder) => readAll(folder, path)));
  expect(error).toMatchObject({ code: "integrity", expected: createHash("sha256").update(right).digest("hex") });
  expect(chunksBelow(folder)).toEqual([]);
  expect(wholeBelow(folder, path)).toBe(false);
  // A small file is checked before a byte of it goes out.
  if (path === SMALL) {
    const source = (await (await open(MODEL, options)).open(path))!;
    expect(await failure(source.read(0, 10))).toMatchObject({ code: "integrity" });
    await source.close();
  }
  spoils = false;
  expectSame(await readAll(await open(MODEL, options), path), right);
});

test("no file in the cache holds a half that looks whole, at any moment of a download", async () => {
  const { server, folder, options } = await place();
  const opened = await open(MODEL, options);
  const watch = setInterval(() => {
    for (const chunk of chunksBelow(folder)) {
      const bytes = readFileSync(chunk);
      const sum = createHash("sha256").update(bytes.subarray(0, -32)).digest();
      if (!sum.equals(bytes.subarray(-32))) seen.push(chunk);
    }
  }, 1);
  const seen: string[] = [];
  await readAll(opened, LARGE);
  clearInterval(watch);
  expect(seen).toEqual([]);
  expect(server.files.get(LARGE)).toHaveLength(LARGE_BYTES);
  expect([...filesBelow(folder).keys()].filter((path) => path.includes(".writing"))).toEqual([]);
});

function damage(path: string): void {
  const bytes = readFileSync(path);
  bytes[1234]! ^= 1;
  writeFileSync(path, bytes);
}
