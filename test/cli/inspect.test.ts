/** `layerleap inspect`: what is known of a model before it is loaded, and what a loaded one holds. */

import { describe, expect, test } from "vitest";
import { copyOf, editJson, temporaryFolder } from "../weights/model_folder.ts";
import { layerleap, MODEL } from "./command.ts";
import { hub, NAME } from "./hub.ts";

describe("a supported model", () => {
  test("in tables: what it is, what it takes in each dtype, the device", async () => {
    const run = await layerleap(["inspect"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    expect(run.stdout).toMatch(/^Model\n {2}name +\S+stories260k-layerskip\n {2}supported +yes\n/);
    for (const row of [
      /^ {2}family +llama$/m,
      /^ {2}parameters +260,032$/m,
      /^ {2}LayerSkip +trained for it$/m,
      /^ {2}context +512 tokens$/m,
      /^GPU memory for weights and context \(there seem to be [\d.,]+ GiB\)$/m,
      /^ {2}f32 +1\.6 MiB, recommended$/m,
      /^ {2}q4 +[\d.]+ KiB$/m,
      /^ {2}kind +(software adapter|hardware)/m,
      /^ {2}largest buffer /m,
    ]) {
      expect(run.stdout).toMatch(row);
    }
    // Nothing is to download, and nothing was loaded.
    expect(run.stdout).not.toMatch(/download|Loaded/);
  });

  test("--json tells the same to scripts", async () => {
    const { code, stdout } = await layerleap(["inspect", "--json"]);
    expect(code).toBe(0);
    const output = JSON.parse(stdout);
    expect(output).toEqual({
      check: {
        ...{ name: MODEL, supported: true, family: "llama", parameters: 260_032, layerskip: true, context_length: 512 },
        memory: { needed_bytes: expect.any(Object), available_bytes: expect.any(Number) },
        recommended_dtype: "f32",
      },
      device: expect.objectContaining({ limits: expect.objectContaining({ max_buffer_size: expect.any(Number) }) }),
    });
    const { f32, f16, q8, q4 } = output.check.memory.needed_bytes;
    // Keys and values of 5 layers, 4 heads of 8, 512 places.
    const context = 2 * 4 * 5 * 4 * 8 * 512;
    expect(f32).toBeGreaterThanOrEqual(1_040_128 + context);
    expect([f32, f16, q8, q4]).toEqual([f32, f16, q8, q4].sort((a, b) => b - a));
  });

  test("for a context that is asked for", async () => {
    const checked = async (...args: string[]) =>
      JSON.parse((await layerleap(["inspect", "--json", ...args])).stdout).check;
    const [whole, part] = [await checked(), await checked("--context-length", "64")];
    expect([whole.context_length, part.context_length]).toEqual([512, 64]);
    const saved = whole.memory.needed_bytes.f32 - part.memory.needed_bytes.f32;
    expect(saved).toBe(2 * 4 * 5 * 4 * 8 * (512 - 64));
    const loaded = await layerleap(["inspect", "--load", "--json", "--context-length", "64"]);
    expect(JSON.parse(loaded.stdout).model.context_length).toBe(64);
  });

  test("of a hub: what is to download, and what of it is there", async () => {
    const { server, env } = await hub();
    const inspected = async () => JSON.parse((await layerleap(["inspect", "--model", NAME, "--json"], { env })).stdout);
    const size = server.files.get("model.safetensors")!.length;
    const { check } = await inspected();
    expect(check).toMatchObject({ supported: true, download: { total_bytes: size, cached_bytes: 0 } });
    expect((await layerleap(["models", "pull", NAME], { env })).code).toBe(0);
    expect((await inspected()).check.download).toEqual({ total_bytes: size, cached_bytes: size });
  });
});

describe("--load", () => {
  test("shows what the GPU holds, and what the load has cost", async () => {
    const run = await layerleap(["inspect", "--load", "--dtype", "q4"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const loaded = run.stdout.slice(run.stdout.indexOf("\nLoaded\n"));
    for (const row of [
      /^ {2}layers +5$/m,
      /^ {2}LayerSkip +exit layer 2, draft length 4 recommended$/m,
      /^ {2}weights +1,015\.8 KiB in the checkpoint, held in q4$/m,
      /^ {2}kernels +fewRows=/m,
      /^ {4}KV cache +640 KiB$/m,
      /^ {2}load +[\d.]+ s$/m,
      /^ {4}compile +[\d.]+ s$/m,
      /^ {2}host memory +[\d.]+ MiB at most$/m,
    ]) {
      expect(loaded).toMatch(row);
    }
  });

  test("--json has all of it", async () => {
    const { stdout } = await layerleap(["inspect", "--load", "--dtype", "q4", "--json"]);
    const { check, model, memory, load, device } = JSON.parse(stdout);
    expect(check).toMatchObject({ supported: true });
    expect(model).toMatchObject({
      ...{ family: "llama", layers: 5, vocab_size: 512, dtype: "q4", weight_bytes: 1_040_128 },
      layerskip: { exit_layer: 2, draft_length: 4 },
    });
    // 260,032 numbers of 4.5 and 8.5 bits and what pads 64 and 172 to steps of 32, norms in f32.
    expect(memory.by_owner.weights).toBeGreaterThan(260_032 / 2);
    expect(memory.by_owner.weights).toBeLessThan(260_032);
    // What was foretold is what it takes, but for a placeholder's few bytes.
    expect(memory.by_owner.weights + memory.by_owner.kv).toBeCloseTo(check.memory.needed_bytes.q4, -2);
    expect(load).toMatchObject({ seconds: expect.any(Number), fetched_bytes: 0, host_peak_bytes: expect.any(Number) });
    expect(device).toMatchObject({ limits: { max_buffer_size: expect.any(Number) } });
  });
});

describe("what does not run", () => {
  test("is told with its reason, and exit code 1", async () => {
    const model = copyOf(MODEL);
    editJson(model, "config.json", (config) => {
      config.model_type = "mamba";
    });
    for (const load of [[], ["--load"]]) {
      const run = await layerleap(["inspect", "--model", model, ...load]);
      expect(run).toMatchObject({ code: 1, stderr: "" });
      expect(run.stdout).toMatch(/^ {2}supported +no: .*config\.json: model_type: .*mamba/m);
      expect(run.stdout).not.toMatch(/GPU memory|Loaded/);
      const json = await layerleap(["inspect", "--model", model, "--json", ...load]);
      expect(json.code).toBe(1);
      expect(JSON.parse(json.stdout)).toEqual({
        check: { name: model, supported: false, reason: expect.stringContaining("mamba") },
        device: expect.any(Object),
      });
    }
  });

  test("a model that is not there is one line, and exit code 1", async () => {
    const { env } = await hub();
    for (const [model, line] of [
      [temporaryFolder(), /config\.json/],
      ["hf:owner/absent", /there is no owner\/absent/],
    ] as const) {
      const run = await layerleap(["inspect", "--model", model], { env });
      expect(run).toMatchObject({ code: 1, stdout: "" });
      expect(run.stderr).toMatch(/^layerleap: [^\n]+\n$/);
      expect(run.stderr).toMatch(line);
    }
  });
});
