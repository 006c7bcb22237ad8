/** Downloads in the browser's own storage, in a real browser: kept, resumed, shared between tabs, and never half. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, expect, type Page, test } from "@playwright/test";
import { build } from "vite";
import { HubServer, sha256 } from "../test/sources/hub_server.ts";

const ROOT = join(import.meta.dirname, "..");
const LARGE = "model.safetensors";
const SMALL = "config.json";
const MODEL = "hf:owner/name";
const CHUNK_BYTES = 4 * 2 ** 20;
/** Two and a half chunks. */
const LARGE_BYTES = 2.5 * CHUNK_BYTES + 17;

const PAGE = `<!doctype html><title>Cache</title>
<input type="file" webkitdirectory>
<script type="module" src="page.js"></script>`;

/** Where the page is: a server of its own, since Chromium lets no page of Playwright's making reach this machine. */
let site: string;
let pages: Server;
let server: HubServer;

test.beforeAll(async () => {
  const outDir = join(ROOT, "test-results/cache-page");
  const lib = { entry: "e2e/cache_page.ts", formats: ["es" as const], fileName: "page" };
  await build({
    ...{ configFile: false, root: ROOT, logLevel: "error" },
    build: { outDir, emptyOutDir: true, target: "es2022", lib },
  });
  const script = readFileSync(join(outDir, "page.js"), "utf8");
  pages = createServer((request, response) => {
    const [type, body] = request.url === "/page.js" ? ["text/javascript", script] : ["text/html", PAGE];
    response.writeHead(200, { "content-type": type }).end(body);
  });
  await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
  site = `http://127.0.0.1:${(pages.address() as AddressInfo).port}/`;
});

test.afterAll(() => pages.close());

test.beforeEach(async () => {
  const large = Buffer.from(
    Uint32Array.from({ length: Math.ceil(LARGE_BYTES / 4) }, () => Math.random() * 2 ** 32).buffer,
  );
  server = await HubServer.start({ [SMALL]: Buffer.from('{"small":true}'), [LARGE]: large.subarray(0, LARGE_BYTES) });
});

test.afterEach(() => server.stop());

/** A page with the library on it. */
async function openPage(context: BrowserContext): Promise<Page> {
  const page = await context.newPage();
  await page.goto(site);
  await page.waitForFunction(() => "cacheTest" in globalThis);
  return page;
}

/** Reads a file of the model in the page. */
function read(page: Page, path: string, options: { whenFull?: "uncached"; token?: string } = {}) {
  return page.evaluate(
    ([source, path, endpoint, { whenFull, token }]) =>
      cacheTest.readFile(source, path, { endpoint, token, cache: { whenFull } }, { signal: cacheTest.aborter.signal }),
    [MODEL, path, server.endpoint, options] as const,
  );
}

const digestOf = (path: string) => sha256(server.files.get(path)!);

/** Sends the file's first chunk and a half, however it is asked for, then nothing. */
function sendHalf(): void {
  const last = 1.5 * CHUNK_BYTES;
  server.meddle = ({ at, range }, response) => {
    if (at !== "cdn" || range![1] <= last) return false;
    const [begin, end] = range!;
    const file = server.files.get(LARGE)!;
    const contentRange = `bytes ${begin}-${end - 1}/${file.length}`;
    response.writeHead(206, { "content-length": end - begin, "content-range": contentRange });
    response.write(file.subarray(begin, Math.max(begin, last)));
    return true;
  };
}

/** Waits until the cache holds so many bytes. */
async function holds(page: Page, bytes: number): Promise<void> {
  const held = () => page.evaluate(async () => (await cacheTest.listCached())[0]?.bytes ?? 0);
  await expect.poll(held).toBeGreaterThan(bytes);
}

test("a download is kept: after a reload the model is there without a network", async ({ context }) => {
  const page = await openPage(context);
  expect(await read(page, LARGE)).toEqual({
    sha256: digestOf(LARGE),
    progress: { file: LARGE, size: LARGE_BYTES, fetched: LARGE_BYTES, cached: 0 },
  });
  expect(await read(page, SMALL)).toMatchObject({ sha256: digestOf(SMALL) });
  expect(server.sent).toBe(LARGE_BYTES + server.files.get(SMALL)!.length);

  await page.reload();
  server.asked.length = 0;
  expect(await read(page, LARGE)).toMatchObject({
    sha256: digestOf(LARGE),
    progress: { fetched: 0, cached: LARGE_BYTES },
  });
  expect(server.asked.map(({ path }) => path)).toEqual(["/api/models/owner/name/revision/main"]);

  await server.stop();
  await page.reload();
  expect(await read(page, LARGE)).toMatchObject({ sha256: digestOf(LARGE), progress: { fetched: 0 } });
  expect(await read(page, SMALL)).toMatchObject({ sha256: digestOf(SMALL) });
  expect(await read(page, "absent")).toEqual({});

  expect(await page.evaluate(() => cacheTest.listCached())).toMatchObject([
    { source: MODEL, files: 2, complete: true },
  ]);
  expect(await page.evaluate((source) => cacheTest.removeCached(source), MODEL)).toBe(true);
  expect(await page.evaluate(() => cacheTest.listCached())).toEqual([]);
});

test("an abort ends at once, and the next load goes on where it stopped", async ({ context }) => {
  const page = await openPage(context);
  sendHalf();
  const aborted = read(page, LARGE);
  await holds(page, CHUNK_BYTES);
  const took = await page.evaluate(() => {
    cacheTest.aborter.abort();
    return performance.now();
  });
  expect(await aborted).toMatchObject({ error: { code: "AbortError" } });
  expect((await page.evaluate(() => performance.now())) - took).toBeLessThan(2000);
  expect(await page.evaluate(() => cacheTest.listCached())).toMatchObject([{ complete: false }]);

  server.meddle = () => false;
  await page.reload();
  server.sent = 0;
  expect(await read(page, LARGE)).toMatchObject({ sha256: digestOf(LARGE) });
  expect(server.sent).toBe(LARGE_BYTES - CHUNK_BYTES);
});

test("a tab that is closed in the middle leaves whole chunks and no lock", async ({ context }) => {
  const page = await openPage(context);
  sendHalf();
  read(page, LARGE).catch(() => {}); // the page goes away
  await holds(page, CHUNK_BYTES);
  await page.close({ runBeforeUnload: false });

  server.meddle = () => false;
  const other = await openPage(context);
  server.sent = 0;
  expect(await read(other, LARGE)).toMatchObject({ sha256: digestOf(LARGE) });
  expect(server.sent).toBe(LARGE_BYTES - CHUNK_BYTES);
});

test("two tabs at once download once", async ({ context }) => {
  const tabs = [await openPage(context), await openPage(context)];
  const results = await Promise.all(tabs.map((tab) => read(tab, LARGE)));
  for (const result of results) expect(result).toMatchObject({ sha256: digestOf(LARGE) });
  expect(server.sent).toBe(LARGE_BYTES);
});

test("a file whose SHA-256 is wrong is removed and reported", async ({ context }) => {
  const page = await openPage(context);
  const wrong = Buffer.from(server.files.get(LARGE)!);
  wrong[LARGE_BYTES - 1]! ^= 1;
  server.meddle = ({ at, range }, response) => {
    if (at !== "cdn") return false;
    server.send(response, wrong, range);
    return true;
  };
  expect(await read(page, LARGE)).toMatchObject({ error: { code: "integrity" } });
  expect(await page.evaluate(() => cacheTest.listCached())).toEqual([]);
  server.meddle = () => false;
  expect(await read(page, LARGE)).toMatchObject({ sha256: digestOf(LARGE) });
});

test("a quota that is too small is told before the download, or the load goes on without the cache", async ({
  context,
}) => {
  const page = await openPage(context);
  const devTools = await context.newCDPSession(page);
  const origin = new URL(site).origin;
  await devTools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: CHUNK_BYTES });
  const { error } = await read(page, LARGE);
  expect(error).toMatchObject({ code: "cache-full", message: expect.stringContaining("free some space") });
  expect(server.sent).toBe(0);
  expect(await read(page, LARGE, { whenFull: "uncached" })).toMatchObject({ sha256: digestOf(LARGE) });
  expect(await page.evaluate(() => cacheTest.listCached())).toMatchObject([{ complete: false }]);
  await devTools.send("Storage.overrideQuotaForOrigin", { origin });
  expect(await read(page, LARGE)).toMatchObject({ sha256: digestOf(LARGE) });
  expect(await page.evaluate(() => cacheTest.listCached())).toMatchObject([{ complete: true }]);
});

for (const whenFull of ["error", "uncached"] as const) {
  test(`a quota that ends in the middle of a download, ${whenFull}`, async ({ context }) => {
    const page = await openPage(context);
    const devTools = await context.newCDPSession(page);
    const origin = new URL(site).origin;
    const result = page.evaluate(
      ([source, path, endpoint, whenFull]) =>
        cacheTest.readFile(source, path, { endpoint, cache: { whenFull } }, { opened: () => cacheTest.gate.promise }),
      [MODEL, LARGE, server.endpoint, whenFull] as const,
    );
    await expect.poll(() => page.evaluate(async () => (await cacheTest.listCached()).length)).toBe(1);
    await devTools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1.5 * CHUNK_BYTES });
    await page.evaluate(() => cacheTest.gate.resolve());
    if (whenFull === "error") expect(await result).toMatchObject({ error: { code: "cache-full" } });
    else expect(await result).toMatchObject({ sha256: digestOf(LARGE) });
    expect(await page.evaluate(() => cacheTest.listCached())).toMatchObject([{ complete: false }]);

    await devTools.send("Storage.overrideQuotaForOrigin", { origin });
    server.sent = 0;
    expect(await read(page, LARGE)).toMatchObject({ sha256: digestOf(LARGE) });
    expect(server.sent).toBe(LARGE_BYTES - CHUNK_BYTES);
  });
}

test("an access token stays at the hub when a file is redirected to another origin", async ({ context }) => {
  const page = await openPage(context);
  expect(await read(page, LARGE, { token: "hf_secret" })).toMatchObject({ sha256: digestOf(LARGE) });
  const secrets = (at: string) => new Set(server.asked.filter((asked) => asked.at === at).map((a) => a.authorization));
  expect(secrets("hub")).toContain("Bearer hf_secret");
  expect(secrets("cdn")).toEqual(new Set([undefined]));
});

test("dropped files, one file, and a directory's handle are read where they are", async ({ context }) => {
  const page = await openPage(context);
  const folder = mkdtempSync(join(tmpdir(), "layerleap-test-"));
  try {
    for (const [path, bytes] of server.files) writeFileSync(join(folder, path), bytes);
    await page.locator("input").setInputFiles(folder);
    const result = await page.evaluate(async (path) => {
      const files = document.querySelector("input")?.files as FileList;
      const listed = await (await cacheTest.openSource(files)).list?.();
      const root = await navigator.storage.getDirectory();
      const directory = await root.getDirectoryHandle("picked", { create: true });
      const file = await directory.getFileHandle("model.gguf", { create: true });
      const writable = await file.createWritable();
      await writable.write("GGUF");
      await writable.close();
      const opened = await cacheTest.openSource(directory as unknown as Blob);
      return {
        listed: [...(listed ?? [])].sort(),
        dropped: await cacheTest.readFile(files, path),
        absent: await cacheTest.readFile(files, "absent.json"),
        inDirectory: await opened.list?.(),
        blob: await cacheTest.readFile(await file.getFile(), "model.gguf"),
        handle: await cacheTest.readFile(directory as unknown as Blob, "model.gguf"),
      };
    }, LARGE);
    const gguf = { sha256: sha256(Buffer.from("GGUF")) };
    expect(result).toEqual({
      ...{ listed: [SMALL, LARGE], dropped: { sha256: digestOf(LARGE) }, absent: {} },
      ...{ inDirectory: ["model.gguf"], blob: gguf, handle: gguf },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
