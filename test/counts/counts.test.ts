/**
 * Counts as a guard: what a token and a round ask of a device, beside the times no test may depend on. A number changes on
 * purpose, with the file counts.json, or not at all.
 *
 * To write the file anew: LAYERLEAP_WRITE_COUNTS=1 npx vitest run test/counts
 */

import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SHAPES } from "../../bench/shapes.ts";
import { type SyntheticModel, syntheticModel } from "../../bench/synthetic.ts";
import { draftsOf, plainPlan, type RoundPlan } from "../../src/decode/plan.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { Device } from "../../src/gpu/device.ts";
import { bestChoice, type KernelChoice } from "../../src/kernels/choice.ts";
import { RANGE_VERIFY } from "../../src/kernels/constants.ts";
import { reportBytes } from "../../src/kernels/layer_skip.ts";
import { readModelSpec } from "../../src/model/config.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import type { Dtype } from "../../src/types.ts";
import { STORIES } from "../memory_folder.ts";

const FILE = new URL("counts.json", import.meta.url).pathname;

/** What one submission asks of a device. */
interface Counts {
  dispatches: number;
  workgroups: number;
  weightBytes: number;
  submissions: number;
  readbackBytes: number;
}

interface ModelCounts {
  /** Of all pipelines that prompts and the plans below need. */
  pipelines: number;
  plainToken: Counts;
  rounds: Record<string, Counts>;
}

/** Positions are counted where a context is of middle length: the grids of attention grow with it. */
const LENGTH = 200;

/**
 * Every count is of this choice, whatever the device: a GPU's, and a software adapter's. A prompt's kernels are not counted;
 * they are those that compile fast here.
 */
const CHOICES: Record<string, KernelChoice> = {
  gpu: {
    fewRows: { kind: "workgroup", slices: 8 },
    manyRows: "thread",
    attention: "workgroup",
    promptAttention: "threads",
    kv: "f32",
  },
  software: {
    fewRows: { kind: "thread", slices: 1 },
    manyRows: "thread",
    attention: "threads",
    promptAttention: "threads",
    kv: "f32",
  },
};

function specIn(folder: string): ModelSpec {
  const file = `${folder}config.json`;
  return readModelSpec(JSON.parse(readFileSync(file, "utf8")), undefined, file).spec;
}

const stories = () => specIn(STORIES);
/** Queries and keys normed, and each block's input and output: no family has more of a layer. */
const gemma3 = () => specIn(new URL("../assets/families/gemma3/", import.meta.url).pathname);

interface CountedModel {
  spec: ModelSpec;
  dtype: Dtype;
  choice: keyof typeof CHOICES;
  plans: RoundPlan[];
}

const MODELS: Record<string, CountedModel> = {
  "default model, software adapter": {
    spec: stories(),
    dtype: "f32",
    choice: "software",
    plans: [{ exitLayer: 2, draftLength: 3 }],
  },
  "default model, GPU": {
    spec: stories(),
    dtype: "f32",
    choice: "gpu",
    plans: [{ exitLayer: 2, draftLength: 3 }],
  },
  "SmolLM2-135M in q4, software adapter": {
    spec: SHAPES["SmolLM2-135M"],
    dtype: "q4",
    choice: "software",
    plans: [{ exitLayer: 4, draftLength: 3 }],
  },
  "a small Gemma 3, software adapter": {
    spec: gemma3(),
    dtype: "f32",
    choice: "software",
    plans: [{ exitLayer: 2, draftLength: 3 }],
  },
};

// A device a test: the pipelines of one model are not counted for another.
let device: Device;
beforeEach(async () => {
  device = await Device.open(await defaultGpu());
});
afterEach(() => device.dispose());

async function countRound({ scheduler }: SyntheticModel, plan: RoundPlan): Promise<Counts> {
  const begin = await scheduler.prepare([plan]);
  scheduler.begin({ maxTokens: 9, contextLength: 512, eosTokenIds: [] }, begin());
  const recorder = new Recorder(device.handle, "count");
  scheduler.record(recorder, [{ lane: 0, plan, length: LENGTH }]);
  recorder.finish();
  const { dispatches, workgroups, streamedBytes } = recorder;
  return {
    dispatches,
    workgroups,
    weightBytes: streamedBytes,
    submissions: 1,
    readbackBytes: reportBytes(1 + draftsOf(plan)),
  };
}

async function countModel({ spec, dtype, choice, plans }: CountedModel): Promise<ModelCounts> {
  const kernels = CHOICES[choice]!;
  const model = syntheticModel(device, spec, { dtype, kernels, contextLength: 512 });
  const plain = plainPlan(spec.layers);
  const plainToken = await countRound(model, plain);
  const rounds: Record<string, Counts> = {};
  for (const plan of plans) rounds[`E=${plan.exitLayer}, d=${plan.draftLength}`] = await countRound(model, plan);
  return { pipelines: device.pipelines.count, plainToken, rounds };
}

describe("what a token and a round ask of a device is what counts.json says", () => {
  test.each(Object.keys(MODELS))("%s", async (name) => {
    const counts = await countModel(MODELS[name]!);
    const file = JSON.parse(readFileSync(FILE, "utf8")) as Record<string, ModelCounts>;
    if (process.env.LAYERLEAP_WRITE_COUNTS === "1") {
      writeFileSync(FILE, `${JSON.stringify({ ...file, [name]: counts }, undefined, 2)}\n`);
    } else {
      expect(counts).toEqual(file[name]);
    }
    expect(counts.pipelines).toBeLessThanOrEqual(40);
  });
});

describe("the promises of the counts", () => {
  test.each([
    ["Llama", 7, stories],
    ["Gemma 3", 9, gemma3],
  ] as const)("a layer of a %s takes at most %i dispatches a token", async (_, most, specOf) => {
    const spec = specOf();
    const model = syntheticModel(device, spec, { dtype: "f32", kernels: bestChoice(device), contextLength: 512 });
    await model.scheduler.prepare([]);
    const dispatches = (layers: number) => {
      const recorder = new Recorder(device.handle, "count");
      const row = { range: 0, count: 1, end: LENGTH, regime: "generated" } as const;
      model.forward.forward(recorder, row, 0, layers);
      recorder.finish();
      return recorder.dispatches;
    };
    for (let layer = 1; layer < spec.layers; layer++) {
      expect(dispatches(layer + 1) - dispatches(layer)).toBeLessThanOrEqual(most);
    }
  });

  test("a verification of 2 to 8 rows reads the weights once, as one row does", async () => {
    const spec = stories();
    const model = syntheticModel(device, spec, { dtype: "f32", kernels: bestChoice(device), contextLength: 512 });
    const { weights } = model;
    await model.scheduler.prepare([1, 3, 7].map((draftLength) => ({ exitLayer: 1, draftLength })));
    const read = (count: number) => {
      const recorder = new Recorder(device.handle, "count");
      const rows = { range: RANGE_VERIFY, count, end: LENGTH, regime: "generated" } as const;
      model.forward.forward(recorder, rows, 0, spec.layers);
      model.forward.head.argmax(recorder, rows);
      recorder.finish();
      return recorder.streamedBytes;
    };
    const matrices = weights.layers.flatMap(({ qkv, output, gateUp, down }) => [...qkv, output, ...gateUp, down]);
    const all = [...matrices, ...weights.head].reduce((sum, { weight }) => sum + weight.size, 0);
    expect(Array.from({ length: 8 }, (_, i) => read(i + 1))).toEqual(Array.from({ length: 8 }, () => all));
  });
});
