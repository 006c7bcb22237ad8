/** Several processes at one cache, and processes that are killed. */

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { build } from "vite";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { CHUNK_BYTES } from "../../src/cache/chunks.ts";
import { FileLock } from "../../src/cache/file_lock.ts";
import { sha256 } from "../sources/hub_server.ts";
import { failure, temporaryFolder } from "../weights/model_folder.ts";
import { chunksBelow, expectSame, LARGE, LARGE_BYTES, open, place, readAll, wholeBelow } from "./downloads.ts";

const OUT = join(import.meta.dirname, "../../test-results/load-process");

// Node 20 runs no TypeScript.
beforeAll(async () => {
  await build({
    configFile: false,
    logLevel: "error",
    ssr: { noExternal: true },
    build: {
      ssr: join(import.meta.dirname, "load_process.ts"),
      outDir: OUT,
      emptyOutDir: true,
      target: "node20",
      rolldownOptions: { output: { entryFileNames: "load_process.js" } },
    },
  });
});

/** Reads the large file in a process of its own. */
function start(endpoint: string, cache: string) {
  const child = spawn(process.execPath, [join(OUT, "load_process.js"), endpoint, cache], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data) => {
    stdout += data;
  });
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) =>
    child.once("close", (code) => resolve({ code, stdout, stderr })),
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  return { child, ended };
}

test("two processes at once download once", async () => {
  const { server, folder } = await place();
  const runs = await Promise.all([start(server.endpoint, folder).ended, start(server.endpoint, folder).ended]);
  for (const run of runs) {
    expect(run).toEqual({ code: 0, stdout: sha256(server.files.get(LARGE)!), stderr: "" });
  }
  expect(server.sent).toBe(LARGE_BYTES);
  expect(wholeBelow(folder, LARGE)).toBe(true);
});

test("two loads of one process download once", async () => {
  const { server, options } = await place();
  const load = async () => readAll(await open("hf:owner/name", options), LARGE);
  for (const bytes of await Promise.all([load(), load()])) expectSame(bytes, server.files.get(LARGE));
  expect(server.sent).toBe(LARGE_BYTES);
});

test("a process killed in the middle leaves whole chunks, from which the next load goes on", async () => {
  const { server, folder, options } = await place();
  // Sends a chunk and a half, then nothing.
  server.meddle = ({ at, range }, response) => {
    if (at !== "cdn" || range![0] > 0) return false;
    const file = server.files.get(LARGE)!;
    response.writeHead(206, {
      "content-length": file.length,
      "content-range": `bytes 0-${file.length - 1}/${file.length}`,
    });
    response.write(file.subarray(0, 1.5 * CHUNK_BYTES));
    return true;
  };
  const { child, ended } = start(server.endpoint, folder);
  await expect.poll(() => chunksBelow(folder).length, { timeout: 20_000 }).toBe(1);
  child.kill("SIGKILL");
  expect((await ended).stdout).toBe("");
  expect(wholeBelow(folder, LARGE)).toBe(false);
  // The lock of the chunk that it was fetching is still there (or of two, since one is taken before the last is let go), and stale.
  expect(readdirSync(join(folder, ".locks")).length).toBeOneOf([1, 2]);

  server.sent = 0;
  expectSame(await readAll(await open("hf:owner/name", options), LARGE), server.files.get(LARGE));
  expect(server.sent).toBe(LARGE_BYTES - CHUNK_BYTES);
});

describe("a lock between processes", () => {
  const path = () => join(temporaryFolder(), "x.lock");

  test("is held by one at a time, and passed on", async () => {
    const file = path();
    let inside = 0;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const lock = await FileLock.take(file);
        expect(++inside).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 5));
        inside--;
        await lock.release();
      }),
    );
    expect(existsSync(file)).toBe(false);
  });

  test.each<[string, (file: string) => void]>([
    [
      "of a process that is gone",
      (file) => writeFileSync(file, JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), id: "x" })),
    ],
    [
      "that nobody has touched for long",
      (file) => {
        writeFileSync(file, JSON.stringify({ pid: 1, host: "another-machine", id: "x" }));
        utimesSync(file, new Date(0), new Date(0));
      },
    ],
  ])("%s is free", async (_, leave) => {
    const file = path();
    leave(file);
    const lock = await FileLock.take(file, AbortSignal.timeout(5000));
    await lock.release();
    expect(existsSync(file)).toBe(false);
  });

  test("of another machine that was touched just now is waited for, until the signal aborts", async () => {
    const file = path();
    writeFileSync(file, JSON.stringify({ pid: 2 ** 22 + 1, host: "another-machine", id: "x" }));
    const reason = new Error("enough");
    const aborter = new AbortController();
    setTimeout(() => aborter.abort(reason), 300);
    expect(await failure(FileLock.take(file, aborter.signal))).toBe(reason);
  });

  test("that cannot be created says so", async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, "a"));
    expect(await failure(FileLock.take(join(folder, "absent/x.lock")))).toMatchObject({
      code: "source",
      message: expect.stringMatching(/cannot be locked/),
    });
  });
});
