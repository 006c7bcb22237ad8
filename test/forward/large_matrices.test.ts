/**
 * Matrices that a device does not bind whole: gate and up are cut, and no bit depends on that; what is never cut is refused
 * by its name.
 */

import { beforeAll, describe, expect, test } from "vitest";
import { score } from "../../src/decode/score.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { GpuError, load } from "../../src/index.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import type { Folder } from "../../src/weights/source.ts";
import { bindingAtMost } from "../bound_gpu.ts";
import { type Engine, type EngineOptions, openEngine } from "../engine.ts";
import { randomModelFolder } from "../memory_folder.ts";
import { Random, randomSeed } from "../reference/random.ts";

const MIB = 2 ** 20;
const HIDDEN = 1024;
const INTERMEDIATE = 4200;

const random = new Random(randomSeed());
let folder: Folder;
beforeAll(() => {
  const shape = { layers: 1, hiddenSize: HIDDEN, intermediateSize: INTERMEDIATE, vocabSize: 200, headDim: 16 };
  folder = randomModelFolder(random, shape).folder;
});

/** Logits of some random ids, as a prompt and as generated rows, and the dispatches of a row's way through the layer. */
async function results({ device, forward, table }: Engine, ids: readonly number[]) {
  const at = ids.map((_, position) => position);
  const logits: Float32Array[] = [];
  for (const regime of ["prompt", "generated"] as const) {
    const rowsPerPass = regime === "prompt" ? 32 : 4;
    logits.push(...(await score(device, forward, table, { ids, at, exitLayer: 1, regime, rowsPerPass })));
  }
  const recorder = new Recorder(device.handle, "count");
  forward.forward(recorder, table.writeChunk([0], 0, "generated").chunk, 0, 1);
  recorder.finish();
  return { logits, dispatches: recorder.dispatches };
}

/** Opens the model, computes, closes it. */
async function resultsOf(options: EngineOptions, ids: readonly number[]) {
  const engine = await openEngine(folder, 64, options);
  try {
    const parts = engine.weights.layers[0]!.gateUp.map(({ columns }) => columns / 2);
    return { parts, ...(await results(engine, ids)) };
  } finally {
    engine.device.dispose();
  }
}

describe(`gate and up in parts give the bits of the whole (seed ${random.seed})`, () => {
  test.each([
    { dtype: "f32", binding: 18 },
    { dtype: "f16", binding: 9 },
  ] as const)("$dtype, $binding MiB a binding", async ({ dtype, binding }) => {
    const ids = random.ints(11, 0, 199);
    const whole = await resultsOf({ dtype }, ids);
    const cut = await resultsOf({ dtype, gpu: bindingAtMost(await defaultGpu(), binding * MIB) }, ids);
    expect([whole.parts, cut.parts]).toEqual([[INTERMEDIATE], [2048, 2048, 104]]);
    expect(cut.dispatches).toBe(whole.dispatches + 2);
    expect(whole.logits.every((row) => row.every(Number.isFinite))).toBe(true);
    expect(cut.logits).toEqual(whole.logits);
  });
});

describe("what is not cut and not bound", () => {
  /** What `load` says of the model on a device that binds so many MiB. */
  async function refusal(binding: number, options: Parameters<typeof load>[1]): Promise<unknown> {
    const gpu = bindingAtMost(await defaultGpu(), binding * MIB);
    return load(folder, { ...options, gpu }).then(
      (model) => model.dispose(),
      (error: unknown) => error,
    );
  }

  test("a layer's matrix is refused by name, bytes and limit, and by a dtype in which it fits", async () => {
    const error = await refusal(16, { dtype: "f32" });
    expect(error).toBeInstanceOf(GpuError);
    expect((error as GpuError).message).toBe(
      `weights/model.layers.0.mlp.down_proj.weight: it needs ${INTERMEDIATE * HIDDEN * 4} bytes in f32 ` +
        `and this device binds at most ${16 * MIB}: in f16 it fits`,
    );
  });
});
