/** `model.calibrate` and `model.exitAgreement` on the default model: what comes of them, and of what ends them. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BusyError, type CalibrationProgress, InputError, load, type Model } from "../../src/index.ts";
import { adapterFile, identityAdapter, nextLayerAdapter } from "../exit_adapters.ts";
import { goldenCase } from "../golden.ts";
import { STORIES } from "../memory_folder.ts";

const PROMPT = "Once upon a time";
const TEXT = Array(4).fill(goldenCase("once").text_out).join("\n");

let model: Model;
beforeAll(async () => {
  model = await load(STORIES);
});
afterAll(() => model.dispose());

describe("calibrate", () => {
  test("fits a map to a text, tells how exits agree on the rest of it, and loads it", async () => {
    const phases = new Set<CalibrationProgress["phase"]>();
    const told: number[] = [];
    const onProgress = ({ phase, done }: CalibrationProgress) => {
      phases.add(phase);
      told.push(done);
    };
    const { bytes, exitLayer, exits, tokens, testTokens } = await model.calibrate({
      text: TEXT,
      maxTokens: 700,
      onProgress,
    });
    expect(model.exitAdapter).toMatchObject({ kind: "linear", exitLayer, hotIds: undefined });
    expect(exits.map((exit) => exit.exitLayer)).toEqual([1, 2, 3]);
    expect(testTokens).toBe(140);
    expect(tokens).toBeGreaterThan(450);
    for (const exit of exits) {
      expect(exit.plainAgreement).toBeGreaterThan(0.3);
      expect(exit.agreement).toBeGreaterThan(exit.plainAgreement - 0.1);
    }
    expect(exits.find((exit) => exit.exitLayer === exitLayer)!.speedup).toBe(
      Math.max(...exits.map(({ speedup }) => speedup)),
    );
    expect(Math.max(...told)).toBeLessThanOrEqual(1);
    expect([...phases].every((phase) => ["collect", "solve", "test"].includes(phase))).toBe(true);

    const plain = await model.generate(PROMPT, { drafter: "none", maxTokens: 60 }).result();
    const drafted = await model.generate(PROMPT, { drafter: "adapter", draftLength: 1, maxTokens: 60 }).result();
    expect(drafted.ids).toEqual(plain.ids);
    // Which exit was chosen goes by time: the first agrees least, in two of five positions.
    expect(drafted.stats.acceptanceRate).toBeGreaterThan(0.25);
    // The file is the adapter that is loaded.
    await model.loadExitAdapter(bytes);
    const again = await model.generate(PROMPT, { drafter: "adapter", draftLength: 1, maxTokens: 60 }).result();
    expect(again.rounds.map(({ accepted }) => accepted)).toEqual(drafted.rounds.map(({ accepted }) => accepted));
    expect(model.exitAdapter!.agreement).toBeCloseTo(exits.find((exit) => exit.exitLayer === exitLayer)!.agreement, 3);
  });

  test("without a text the model writes one, the same from the same seed", async () => {
    const options = { maxTokens: 160, exitLayer: 2 };
    const first = await model.calibrate(options);
    const second = await model.calibrate(options);
    const other = await model.calibrate({ ...options, seed: 5 });
    expect(second.bytes).toEqual(first.bytes);
    expect(other.bytes).not.toEqual(first.bytes);
    expect(first.exits).toHaveLength(1);
  });

  test.each(["collect", "solve", "test"] as const)(
    "an abort while it is at '%s' leaves the adapter before, and no buffer",
    async (at) => {
      await model.loadExitAdapter(adapterFile(await nextLayerAdapter(STORIES, 1)));
      await model.exitAgreement({ text: TEXT, maxTokens: 20 }); // what stays anyway is there
      const { buffers, bytes } = model.memory();
      const controller = new AbortController();
      const reason = new Error("enough");
      const calibration = model.calibrate({
        ...{ text: TEXT, maxTokens: 700, signal: controller.signal },
        onProgress: ({ phase }) => {
          if (phase === at) controller.abort(reason);
        },
      });
      await expect(calibration).rejects.toBe(reason);
      expect(model.exitAdapter).toMatchObject({ kind: "block", exitLayer: 1 });
      expect(model.memory()).toMatchObject({ buffers, bytes });
      expect((await model.generate(PROMPT, { drafter: "adapter", maxTokens: 9 }).result()).ids).toHaveLength(9);
    },
  );

  test("nothing else runs meanwhile, and an abort before it begins is heard", async () => {
    const calibration = model.calibrate({ text: TEXT, maxTokens: 300 });
    await expect(model.exitAgreement({ text: TEXT })).rejects.toThrow(BusyError);
    // A generation waits for its turn, and has the adapter then.
    const waiting = model.generate(PROMPT, { maxTokens: 2, drafter: "auto" }).result();
    await calibration;
    expect(model.exitAdapter).toBeDefined();
    expect((await waiting).ids).toHaveLength(2);
    await expect(model.calibrate({ text: TEXT, signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow("no");
  });

  test.each<[string, object, string]>([
    ["too little text", { text: "Once upon a time" }, "text"],
    ["no exit", { text: TEXT, exitLayer: 0 }, "exitLayer"],
    ["an exit behind the last layer", { text: TEXT, exitLayer: 5 }, "exitLayer"],
    ["no tokens", { text: TEXT, maxTokens: 0 }, "maxTokens"],
    ["a text that is none", { text: 5 }, "text"],
    ["an option that there is not", { text: TEXT, ridge: 1 }, "ridge"],
  ])("%s is refused", async (_, options, field) => {
    await expect(model.calibrate(options)).rejects.toThrow(InputError);
    await expect(model.calibrate(options)).rejects.toThrow(field);
  });
});

describe("exitAgreement", () => {
  test("is what scores say", async () => {
    await model.loadExitAdapter(adapterFile(await identityAdapter(STORIES, 2)));
    const ids = model.tokenize(TEXT).slice(0, 150);
    const from = 20;
    const { positions, exits, adapter } = await model.exitAgreement({ text: ids, from, exitLayers: [1, 2, 4] });
    expect(positions).toBe(130);
    const best = ({ logits }: { logits: Float32Array[] }) => logits.map((row) => row.indexOf(Math.max(...row)));
    const full = best(await model.score(ids));
    for (const { exitLayer, agreement } of exits) {
      const exit = best(await model.score(ids, { exitLayer }));
      const agreed = exit.filter((id, at) => at >= from && id === full[at]).length;
      expect(agreement).toBeCloseTo(agreed / positions, 6);
    }
    // A map that changes nothing agrees as the exit does.
    expect(adapter).toEqual(exits.find(({ exitLayer }) => exitLayer === 2));
  });

  test.each<[string, object, string]>([
    ["an id that there is not", { text: [1, 512] }, "text[1]"],
    ["a layer that there is not", { exitLayers: [5] }, "exitLayers"],
    ["a position behind the text", { text: [1, 2, 3], from: 3 }, "from"],
  ])("%s is refused", async (_, options, field) => {
    await expect(model.exitAgreement(options)).rejects.toThrow(InputError);
    await expect(model.exitAgreement(options)).rejects.toThrow(field);
  });
});

describe("an adapter that comes or goes", () => {
  test("scores at once, before anything was generated with it", async () => {
    await using fresh = await load(STORIES);
    const ids = [1, 403, 407, 261];
    const before = await fresh.score(ids);
    await fresh.loadExitAdapter(adapterFile(await nextLayerAdapter(STORIES, 2)));
    expect((await fresh.score(ids)).logits).toEqual(before.logits);
  });

  test("before a generation begins that was made: it drafts as it can then", async () => {
    model.removeExitAdapter();
    const plain = await model.generate(PROMPT, { drafter: "none", maxTokens: 40 }).result();
    const waiting = model.generate(PROMPT, { drafter: "auto", maxTokens: 40 });
    await model.loadExitAdapter(adapterFile(await nextLayerAdapter(STORIES, 2)));
    expect((await waiting.result()).ids).toEqual(plain.ids);
    const moved = model.generate(PROMPT, { drafter: "adapter", maxTokens: 40 });
    await model.loadExitAdapter(adapterFile(await nextLayerAdapter(STORIES, 1)));
    const { ids, stats } = await moved.result();
    expect(ids).toEqual(plain.ids);
    expect(stats.plans[0]).toMatchObject({ drafter: "adapter", exitLayer: 1 });
    const orphaned = model.generate(PROMPT, { drafter: "adapter", maxTokens: 40 });
    model.removeExitAdapter();
    await expect(orphaned.result()).rejects.toThrow(InputError);
    expect((await model.generate(PROMPT, { maxTokens: 40 }).result()).ids).toEqual(plain.ids);
  });
});
