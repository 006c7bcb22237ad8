/** What a load learns of rounds: it is timed once for a device and model, kept, and a hint that may be damaged. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { listCached, load } from "../../src/index.ts";
import { STORIES } from "../memory_folder.ts";

interface PricesFile {
  layers: number;
  plans: { exitLayer: number; draftLength: number; milliseconds: number[] }[];
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layerleap-prices-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const files = () => readdirSync(join(folder, "prices")).map((name) => join(folder, "prices", name));

test("plain decoding and some plans are timed, kept, read again, and measured anew where the file is damaged", async () => {
  const prompt = "Once upon a time";
  const plainPrice = async () => {
    await using model = await load(STORIES, { cache: { folder } });
    const { rounds, ids } = await model.generate(prompt, { maxTokens: 30 }).result();
    expect(ids).toEqual((await model.generate(prompt, { maxTokens: 30, drafter: "none" }).result()).ids);
    const { decision } = rounds[0]!;
    // The first round is plain: its time sets the level.
    expect(decision!.reason).toBe("plain");
    expect(decision!.prices[0]).toMatchObject({ exitLayer: 5, draftLength: 0, tokens: 1 });
    return decision!.prices[0]!.milliseconds;
  };
  const first = await plainPrice();
  const [file] = files();
  const kept = readFileSync(file!, "utf8");
  const { layers, plans } = JSON.parse(kept) as PricesFile;
  expect(layers).toBe(5);
  expect(plans.find(({ draftLength }) => draftLength === 0)!.milliseconds.length).toBeGreaterThan(2);
  expect(plans.length).toBeGreaterThan(4);
  expect(plans.every(({ milliseconds }) => milliseconds.every((ms) => ms > 0))).toBe(true);

  // Read, not measured: the same price, but for how old its timings are.
  expect(Math.abs((await plainPrice()) / first - 1)).toBeLessThan(0.005);
  expect(readFileSync(file!, "utf8")).toBe(kept);

  writeFileSync(file!, kept.slice(0, 30));
  await plainPrice();
  expect(() => JSON.parse(readFileSync(file!, "utf8"))).not.toThrow();
  // It is no model.
  expect(await listCached({ cache: { folder } })).toEqual([]);
});

test("without a cache nothing is kept; a context too short for a round is not timed; a load that is aborted meanwhile ends", async () => {
  await using uncached = await load(STORIES, { cache: false });
  expect((await uncached.generate("Once", { maxTokens: 5 }).result()).ids).toHaveLength(5);
  await using short = await load(STORIES, { cache: { folder }, contextLength: 8 });
  expect((await short.generate([1, 403], { maxTokens: 5 }).result()).ids).toHaveLength(5);
  expect(readdirSync(folder)).toEqual([]);
  const controller = new AbortController();
  const loading = load(STORIES, {
    cache: { folder },
    signal: controller.signal,
    onProgress: ({ phase, loadedBytes }) => {
      if (phase === "compile" && loadedBytes > 0) setTimeout(() => controller.abort(new Error("enough")), 0);
    },
  });
  await expect(loading).rejects.toThrow("enough");
});
