/** A device that turns out to have less memory than it seemed: a smaller data type where that is ours to choose. */

import { beforeAll, expect, test } from "vitest";
import { GpuMemoryError, load } from "../../src/index.ts";
import { STORIES } from "../memory_folder.ts";
import { deviceOf } from "./full_device.ts";

const PROMPT = "Once upon a time";

/** What a load in q8 needs, holds, and says. */
let q8: { peakBytes: number; ids: readonly number[]; weights: number };

beforeAll(async () => {
  const device = await deviceOf(Number.POSITIVE_INFINITY);
  await using model = await load(STORIES, { gpu: device.gpu, dtype: "q8" });
  const { ids } = await model.generate(PROMPT, { maxTokens: 24 }).result();
  q8 = { peakBytes: device.peakBytes(), ids, weights: model.memory().byOwner.weights! };
});

test("what does not fit is held in the largest type that does, nothing of the others stays, and the model says so", async () => {
  const { gpu } = await deviceOf(q8.peakBytes);
  await using model = await load(STORIES, { gpu });
  expect(model.dtype).toBe("q8");
  expect(model.memory().byOwner.weights).toBe(q8.weights);
  expect(model.warnings).toHaveLength(2);
  expect(model.warnings[0]).toMatch(/needs \d+ bytes .*\d+ bytes are held already.*floats are held in f16 instead/);
  expect(model.warnings[1]).toMatch(/floats are held in q8 instead/);
  const { ids } = await model.generate(PROMPT, { maxTokens: 24 }).result();
  expect(ids).toEqual(q8.ids);
});

test("a type that was asked for is not changed", async () => {
  const { gpu } = await deviceOf(q8.peakBytes);
  const failure = await load(STORIES, { gpu, dtype: "f32" }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(GpuMemoryError);
  expect(failure).toMatchObject({ code: "gpu-memory", neededBytes: expect.any(Number) });
});

test("where the smallest does not fit either, the load says what it needed and what was there", async () => {
  const { gpu } = await deviceOf(100_000);
  const failure = await load(STORIES, { gpu }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(GpuMemoryError);
  expect(String(failure)).toMatch(
    /in q4\) needs \d+ bytes of GPU memory: the device, on which \d+ bytes are held already/,
  );
});
