/** What is told of a model before it is loaded, and loading from a hub through the cache. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { check, type LoadProgress, load, SourceError } from "../../src/index.ts";
import { HubServer } from "../sources/hub_server.ts";

const LLAMA = new URL("../assets/families/llama/", import.meta.url).pathname;

function filesOf(folder: string, changes: Record<string, Buffer> = {}): Record<string, Buffer> {
  const names = readdirSync(folder).filter((name) => name !== "golden.json");
  return { ...Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))])), ...changes };
}

let cache: string;
let server: HubServer;
beforeEach(async () => {
  cache = mkdtempSync(join(tmpdir(), "layerleap-check-"));
  server = await HubServer.start(filesOf(LLAMA));
});
afterEach(async () => {
  await server.stop();
  rmSync(cache, { recursive: true });
});

const options = () => ({ endpoint: server.endpoint, cache: { folder: cache } });

describe("check", () => {
  test("the package's own model: what it is, what it needs, and what would be chosen", async () => {
    const found = await check();
    expect(found).toMatchObject({ supported: true, family: "llama", layerSkip: true, recommendedDtype: "f32" });
    expect(found).not.toHaveProperty("download");
    expect(found.device?.limits.maxBufferSize).toBeGreaterThan(0);
    await using model = await load();
    const { weights = 0, kv = 0 } = model.memory().byOwner;
    expect(found.contextLength).toBe(model.contextLength);
    expect(found.parameters).toBe(model.parameters);
    // A word stands in for the scales that floats do not have.
    expect(found.memory?.neededBytes.f32).toBe(weights - 4 + kv);
    expect(found.memory!.neededBytes.q4!).toBeLessThan(found.memory!.neededBytes.f32!);
    expect(found.memory!.availableBytes).toBeGreaterThan(weights);
  });

  test("a model on the hub: headers are fetched, and then it is said what is left", async () => {
    const found = await check("hf:owner/name", options());
    const size = server.files.get("model.safetensors")!.length;
    expect(found).toMatchObject({ supported: true, family: "llama", download: { totalBytes: size, cachedBytes: 0 } });
    await using model = await load("hf:owner/name", options());
    expect(model.loadStats.fetchedBytes + model.loadStats.cachedBytes).toBeGreaterThanOrEqual(size);
    const again = await check("hf:owner/name", options());
    expect(again.download).toEqual({ totalBytes: size, cachedBytes: size, kept: true });
  });

  test("of a repository, only the files that the model needs count as cached", async () => {
    await (await load("hf:owner/name", options())).dispose();
    const weights = Buffer.from(server.files.get("model.safetensors")!);
    weights[weights.length - 1]! ^= 1; // the same bytes would be the same file
    server.files.set("other/config.json", server.files.get("config.json")!);
    server.files.set("other/tokenizer.json", server.files.get("tokenizer.json")!);
    server.files.set("other/model.safetensors", weights);
    const found = await check("hf:owner/name/other", options());
    expect(found.download).toEqual({ totalBytes: weights.length, cachedBytes: 0, kept: true });
  });

  test("keys and values in f16 take half of the context's memory", async () => {
    const needed = async (kv: "f32" | "f16") => (await check(LLAMA, { kernels: { kv } })).memory!.neededBytes.f32!;
    const { spec } = await (async () => {
      await using model = await load(LLAMA);
      return { spec: model.spec };
    })();
    const context = 2 * spec.layers * Math.min(4096, spec.maxPositionEmbeddings) * spec.kvHeads * spec.headDim * 4;
    expect((await needed("f32")) - (await needed("f16"))).toBe(context / 2);
    const unknown = { kernels: { kv: "f8" as "f16" } };
    await expect(check(LLAMA, unknown)).rejects.toMatchObject({ file: "check", field: "kernels.kv" });
  });

  test("without a cache all is to be downloaded", async () => {
    const found = await check("hf:owner/name", { ...options(), cache: false });
    const size = server.files.get("model.safetensors")!.length;
    expect(found.download).toEqual({ totalBytes: size, cachedBytes: 0, kept: false });
  });

  test.each([
    ["an unknown family", { "config.json": Buffer.from('{"model_type":"mamba","state_size":16}') }, /state_size/],
    ["a damaged config", { "config.json": Buffer.from("{") }, /config\.json: JSON/],
    ["a damaged tokenizer", { "tokenizer.json": Buffer.from("{}") }, /tokenizer\.json/],
  ])("%s is no error but an answer that says why", async (_, changes, reason) => {
    for (const [name, bytes] of Object.entries(changes)) server.files.set(name, bytes);
    const found = await check("hf:owner/name", options());
    expect(found.supported).toBe(false);
    expect(found.reason).toMatch(reason);
    expect(found).not.toHaveProperty("memory");
  });

  test("a model that is not there is an error", async () => {
    await expect(check("hf:owner/other", options())).rejects.toThrow(SourceError);
  });
});

describe("load from a hub", () => {
  test("tells phases in their order, and how many bytes of how many", async () => {
    const steps: LoadProgress[] = [];
    await using model = await load("hf:owner/name", { ...options(), onProgress: (step) => steps.push(step) });
    const phases = steps.map(({ phase }) => phase);
    expect(phases[0]).toBe("read");
    expect(phases.at(-1)).toBe("compile");
    expect(phases.indexOf("download")).toBeLessThan(phases.indexOf("upload"));
    for (const { loadedBytes, totalBytes } of steps) expect(loadedBytes).toBeLessThanOrEqual(totalBytes);
    expect(steps.filter(({ phase }) => phase === "upload").at(-1)).toMatchObject({
      loadedBytes: model.weightBytes,
      totalBytes: model.weightBytes,
    });
    const { ids } = await model.generate([1, 5, 9], { maxTokens: 4 }).result();
    await using local = await load(LLAMA);
    expect(ids).toEqual((await local.generate([1, 5, 9], { maxTokens: 4 }).result()).ids);
  });

  test("a second load fetches no weights", async () => {
    await (await load("hf:owner/name", options())).dispose();
    await using model = await load("hf:owner/name", options());
    expect(model.loadStats.fetchedBytes).toBe(0);
    expect(model.loadStats.cachedBytes).toBeGreaterThan(model.weightBytes);
  });

  test("weights that are not those published are never handed out", async () => {
    const damaged = Buffer.from(server.files.get("model.safetensors")!);
    damaged[damaged.length - 1]! ^= 1;
    server.meddle = ({ at, range }, response) => {
      if (at !== "cdn") return false;
      const [begin, end] = range ?? [0, damaged.length];
      const part = damaged.subarray(begin, end);
      const headers = { "content-range": `bytes ${begin}-${begin + part.length - 1}/${damaged.length}` };
      response.writeHead(range ? 206 : 200, { "content-length": part.length, ...(range && headers) }).end(part);
      return true;
    };
    await expect(load("hf:owner/name", options())).rejects.toMatchObject({ code: "integrity" });
  });
});
