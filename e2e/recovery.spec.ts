/** What happens to a page while it generates: its GPU process crashes, it is frozen in the background, it is loaded anew. */

import { type Browser, chromium, expect, type Page, test } from "@playwright/test";
import type * as LayerLeapModule from "../src/index.ts";
import { goldenCase } from "../test/golden.ts";
import { SLOW } from "../test/slow.ts";
import { browserLaunch } from "./browser.ts";
import { type LibrarySite, serveLibrary } from "./library_site.ts";

/** What the page's script leaves for the tests. */
declare const library: typeof LayerLeapModule;

const MODEL = "models/stories260k-layerskip/";
const PAGES = {
  "/": '<!doctype html><meta charset="utf-8"><title>Recovery</title><link rel="icon" href="data:"><script type="module" src="page.js"></script>',
  "/page.js": 'import * as library from "./lib/index.js"; Object.assign(globalThis, { library });',
};
/** Without them Chromium gives no adapter after a second crash. */
const CRASHES = ["--disable-gpu-process-crash-limit", "--disable-domain-blocking-for-3d-apis"];

let site: LibrarySite;
let browser: Browser;
test.beforeAll(async () => {
  site = await serveLibrary(PAGES);
  const launch = await browserLaunch();
  browser = await chromium.launch({ ...launch, args: [...(launch.args ?? []), ...CRASHES] });
});
test.afterAll(async () => {
  await browser.close();
  await site.close();
});

async function open(): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(site.url);
  await page.waitForFunction(() => "library" in globalThis);
  return page;
}

// In the fast run where it crosses most: in a worker.
for (const worker of SLOW ? [false, true] : [true]) {
  test(`the GPU process crashes three times in a row while ${worker ? "a worker" : "the page"} generates: same ids`, async () => {
    const page = await open();
    const { greedy } = goldenCase("once");
    const cdp = await browser.newBrowserCDPSession();
    let crashes = 0;
    await page.exposeFunction("crash", async () => {
      crashes++;
      await cdp.send("Browser.crashGpuProcess");
    });
    const told = await page.evaluate(
      async ([source, inWorker]) => {
        const crash = (globalThis as unknown as { crash: () => Promise<void> }).crash;
        let phases: string[] = [];
        const onProgress = ({ phase }: { phase: string }) => void phases.push(phase);
        const model = inWorker
          ? await library.load(source, { worker: true, recover: true, onProgress })
          : await library.load(source, { recover: true, onProgress });
        phases = [];
        const ids: number[] = [];
        const generation = model.generate("Once upon a time", { maxTokens: 200, ignoreEos: true });
        let crashed = 0;
        for await (const part of generation) {
          ids.push(...part.ids);
          if (crashed < 3 && ids.length > 40 * (crashed + 1)) {
            crashed++;
            await crash();
          }
        }
        const { recoveries } = (await generation.result()).stats;
        // Chromium 147 takes the page down with a worker that ends after its GPU process has crashed twice: it is left to the page's end.
        if (!inWorker) await model.dispose();
        return { ids, recoveries, phases: [phases[0], phases.includes("upload"), phases.at(-1)] };
      },
      [MODEL, worker] as const,
    );
    expect(told.ids).toEqual(greedy.slice(0, 200));
    expect(crashes).toBe(3);
    expect(told.recoveries).toBe(3);
    expect(told.phases).toEqual(["read", true, "compile"]);
    await page.context().close();
  });
}

test("without recover, a crash of the GPU process is a DeviceLostError, and the next load works", async () => {
  const page = await open();
  const { greedy } = goldenCase("once");
  const cdp = await browser.newBrowserCDPSession();
  await page.exposeFunction("crash", () => cdp.send("Browser.crashGpuProcess"));
  const told = await page.evaluate(async (source) => {
    const crash = (globalThis as unknown as { crash: () => Promise<void> }).crash;
    const model = await library.load(source);
    const failure = await (async () => {
      let crashed = false;
      for await (const _ of model.generate("Once upon a time", { maxTokens: 200, ignoreEos: true })) {
        if (!crashed) await crash();
        crashed = true;
      }
      return undefined;
    })().catch((error: unknown) => error);
    await model.dispose();
    const lost = failure instanceof library.DeviceLostError ? failure.code : String(failure);
    const next = await library.load(source);
    const { ids } = await next.generate("Once upon a time", { maxTokens: 20 }).result();
    await next.dispose();
    return { lost, ids };
  }, MODEL);
  expect(told).toEqual({ lost: "device-lost", ids: greedy.slice(0, 20) });
  await page.context().close();
});

test("a page that is frozen in the background goes on where it was", async () => {
  const page = await open();
  const { greedy } = goldenCase("once");
  const cdp = await page.context().newCDPSession(page);
  const running = page.evaluate(async (source) => {
    const model = await library.load(source);
    const ids: number[] = [];
    const state = globalThis as unknown as { count: number };
    for await (const part of model.generate("Once upon a time", { maxTokens: 200, ignoreEos: true })) {
      ids.push(...part.ids);
      state.count = ids.length;
    }
    await model.dispose();
    return ids;
  }, MODEL);
  await page.waitForFunction(() => ((globalThis as unknown as { count?: number }).count ?? 0) > 10);
  await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await cdp.send("Page.setWebLifecycleState", { state: "active" });
  expect(await running).toEqual(greedy.slice(0, 200));
  await page.context().close();
});

test("a page that is loaded anew while it loads, and while it generates, begins anew", async () => {
  const page = await open();
  const { greedy } = goldenCase("once");
  const begin = (source: string) => {
    const state = globalThis as unknown as { phase?: string; ids: number[] };
    void (async () => {
      const model = await library.load(source, {
        onProgress: ({ phase }) => {
          state.phase = phase;
        },
      });
      state.ids = [];
      for await (const part of model.generate("Once upon a time", { maxTokens: 100, ignoreEos: true })) {
        state.ids.push(...part.ids);
      }
    })();
  };
  const again = async () => {
    await page.reload();
    await page.waitForFunction(() => "library" in globalThis);
    await page.evaluate(begin, MODEL);
  };
  await page.evaluate(begin, MODEL);
  await page.waitForFunction(() => (globalThis as unknown as { phase?: string }).phase === "upload");
  await again();
  await page.waitForFunction(() => ((globalThis as unknown as { ids?: number[] }).ids?.length ?? 0) > 10);
  await again();
  const whole = () => ((globalThis as unknown as { ids?: number[] }).ids?.length ?? 0) >= 100;
  await page.waitForFunction(whole);
  expect(await page.evaluate(() => (globalThis as unknown as { ids: number[] }).ids)).toEqual(greedy.slice(0, 100));
  await page.context().close();
});
