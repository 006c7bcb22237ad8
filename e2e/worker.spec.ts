/** The library as a page takes it from a static host, with the model in a worker: no bundler, a strict policy, a free page. */

import { expect, type Page, test } from "@playwright/test";
import type * as LayerLeapModule from "../src/index.ts";
import { goldenCase } from "../test/golden.ts";
import { type LibrarySite, serveLibrary } from "./library_site.ts";
import { complaints } from "./page_story.ts";

/** What the page's script leaves for the tests. */
declare const library: typeof LayerLeapModule;
declare const longTasks: number[];

const MODEL = "models/stories260k-layerskip/";
const PAGES = {
  "/": '<!doctype html><meta charset="utf-8"><title>Worker</title><link rel="icon" href="data:"><script type="module" src="page.js"></script>',
  "/page.js": `
    import * as library from "./lib/index.js";
    const longTasks = [];
    new PerformanceObserver((list) => longTasks.push(...list.getEntries().map(({ duration }) => duration)))
      .observe({ type: "longtask" });
    Object.assign(globalThis, { library, longTasks });`,
  "/drafters.js": `
    export default { name: "eager", treeSize: 3, propose: () => [403, 407, 261] };
    export class Eager { name = "eager"; treeSize = 2; propose() { return [this.treeSize, 5]; } }`,
};

let site: LibrarySite;
test.beforeAll(async () => {
  site = await serveLibrary(PAGES);
});
test.afterAll(() => site.close());

async function open(page: Page): Promise<string[]> {
  const heard = complaints(page);
  await page.goto(site.url);
  await page.waitForFunction(() => "library" in globalThis);
  return heard;
}

test("a worker streams golden text under a strict policy, and the page is never blocked for 50 ms", async ({
  page,
}) => {
  const heard = await open(page);
  const { greedy } = goldenCase("once");
  const told = await page.evaluate(async (source) => {
    const model = await library.LayerLeap.load(source, { worker: true, cache: false });
    longTasks.length = 0;
    const ids: number[] = [];
    let parts = 0;
    for await (const part of model.generate("Once upon a time", { maxTokens: 200 })) {
      ids.push(...part.ids);
      parts++;
    }
    const { origins } = { origins: (await model.generate("Once", { maxTokens: 8 }).result()).tokens.length };
    // What is observed is told a moment later.
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { buffers } = await model.memory();
    const longest = Math.max(0, ...longTasks);
    await model.dispose();
    return { ids, parts, origins, buffers, longest };
  }, MODEL);
  expect(told.ids).toEqual(greedy.slice(0, 200));
  expect(told.parts).toBeGreaterThan(20);
  expect(told.origins).toBe(8);
  expect(told.buffers).toBeGreaterThan(10);
  expect(told.longest).toBeLessThan(50);
  await expect.poll(() => page.workers().length).toBe(0);
  expect(heard).toEqual([]);
});

test("the same library without a worker", async ({ page }) => {
  await open(page);
  const { greedy } = goldenCase("once");
  const ids = await page.evaluate(async (source) => {
    const model = await library.load(source, { cache: false });
    const { ids } = await model.generate("Once upon a time", { maxTokens: 30 }).result();
    await model.dispose();
    return ids;
  }, MODEL);
  expect(ids).toEqual(greedy.slice(0, 30));
});

test("errors and aborts cross, and so does a drafter by its module", async ({ page }) => {
  await open(page);
  const told = await page.evaluate(async (source) => {
    const { load, InputError, SourceError, WorkerLostError } = library;
    const model = await load(source, { worker: true, cache: false });
    const failed = (work: Promise<unknown>) =>
      work.then(
        () => undefined,
        (error: unknown) => error,
      );
    const refused = await failed(model.generate("Once", { maxTokens: 0 }).result());
    const missing = await failed(load("no/such/folder/", { worker: true }));
    const noScript = await failed(load(source, { worker: new URL("no_script.js", location.href) }));
    const aborted = new AbortController();
    const generation = model.generate("Once", { ignoreEos: true, signal: aborted.signal });
    for await (const part of generation) if (part.round) aborted.abort();
    const { finishReason } = await generation.result();
    const reason = new Error("changed my mind");
    const early = await failed(load(source, { worker: true, signal: AbortSignal.abort(reason) }));
    const plain = await model.generate("Once", { maxTokens: 12, drafter: "none" }).result();
    const own: boolean[] = [];
    for (const name of ["drafters.js", "drafters.js#Eager"]) {
      const drafter = new URL(name, location.href);
      const { ids, stats } = await model.generate("Once", { maxTokens: 12, drafter }).result();
      own.push(ids.join() === plain.ids.join() && stats.plans[0]?.drafter === "own");
    }
    const waiting = failed(model.generate("Once", { ignoreEos: true }).result());
    await model.dispose();
    return {
      refused: refused instanceof InputError && refused.field,
      missing: missing instanceof SourceError && missing.message,
      noScript: noScript instanceof WorkerLostError && noScript.code,
      ...{ finishReason, early: early === reason, own },
      waiting: ((await waiting) as Error | undefined)?.name,
    };
  }, MODEL);
  expect(told).toEqual({
    refused: "maxTokens",
    missing: expect.stringContaining(`${site.url}no/such/folder/`),
    noScript: "worker-lost",
    ...{ finishReason: "abort", early: true, own: [true, true] },
    waiting: expect.stringMatching(/DisposedError|WorkerLostError/),
  });
  await expect.poll(() => page.workers().length).toBe(0);
});

test("a worker that is ended without a word: all who wait are told; a worker that was given serves several, and is not ended", async ({
  page,
}) => {
  await open(page);
  const told = await page.evaluate(async (source) => {
    const worker = new Worker("./lib/worker.js", { type: "module" });
    const options = { worker, cache: false };
    const [one, two] = [
      await library.load(source, options),
      await library.load(source, { ...options, contextLength: 64 }),
    ];
    const run = async (model: LayerLeapModule.WorkerModel) =>
      (await model.generate("Once", { maxTokens: 6, drafter: "none" }).result()).ids.join();
    const [a, b] = await Promise.all([run(one!), run(two!)]);
    await two!.dispose();
    const again = await run(one!);
    const waiting = one!
      .generate("Once", { ignoreEos: true })
      .result()
      .catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 100));
    worker.terminate();
    const error = await waiting;
    return { same: a === b && a === again, lost: error instanceof library.WorkerLostError && error.code };
  }, MODEL);
  expect(told).toEqual({ same: true, lost: "worker-lost" });
});

for (const way of ["a shared worker", "a lock and a channel"] as const) {
  test(`tabs share one model by ${way}; one that closes gives back what it held`, async ({ context }) => {
    if (way !== "a shared worker") {
      await context.addInitScript(() => Reflect.deleteProperty(globalThis, "SharedWorker"));
    }
    const { greedy } = goldenCase("once");
    /** Loads in a tab, and keeps the model in its page. */
    const load = (page: Page) =>
      page.evaluate(async (source) => {
        const model = await library.load(source, { worker: "shared", cache: false });
        Object.assign(globalThis, { model });
        return { buffers: (await model.memory()).buffers, seconds: model.loadStats.seconds };
      }, MODEL);
    const generate = (page: Page, maxTokens: number) =>
      page.evaluate(async (maxTokens) => {
        const { model } = globalThis as unknown as { model: LayerLeapModule.WorkerModel };
        return (await model.generate("Once upon a time", { maxTokens, drafter: "none" }).result()).ids;
      }, maxTokens);
    const [one, two, three] = [await context.newPage(), await context.newPage(), await context.newPage()];
    for (const page of [one, two, three]) await open(page);
    const first = await load(one);
    const [second, third] = await Promise.all([load(two), load(three)]);
    // The same model: what loading has cost is told to all, and buffers are there once.
    expect([second.seconds, third.seconds]).toEqual([first.seconds, first.seconds]);
    const all = await Promise.all([generate(one, 20), generate(two, 30), generate(three, 40)]);
    expect(all).toEqual([greedy.slice(0, 20), greedy.slice(0, 30), greedy.slice(0, 40)]);

    // A tab that closes in the middle of a text: the others have the model, and its lane is free again.
    await two.evaluate(() => {
      const { model } = globalThis as unknown as { model: LayerLeapModule.WorkerModel };
      void model.generate("Twice", { ignoreEos: true, drafter: "none" }).result();
    });
    await two.close();
    await expect
      .poll(() =>
        one.evaluate(async () => {
          const { model } = globalThis as unknown as { model: LayerLeapModule.WorkerModel };
          return await model.clearKvCache().then(
            () => "free",
            (error: Error) => error.name,
          );
        }),
      )
      .toBe("free");
    expect(await generate(three, 10)).toEqual(greedy.slice(0, 10));

    if (way === "a lock and a channel") {
      // The tab that has the worker closes: the other is told, and loads again.
      await one.close();
      const lost = await three.evaluate(async () => {
        const { model } = globalThis as unknown as { model: LayerLeapModule.WorkerModel };
        for (;;) {
          const error = await model.tokenize("x").then(
            () => undefined,
            (error: { code: string }) => error.code,
          );
          if (error) return error;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      });
      expect(lost).toBe("worker-lost");
      await load(three);
      expect(await generate(three, 10)).toEqual(greedy.slice(0, 10));
    }
  });
}
