/** Loads beside each other, in one process: none disturbs another, however it ends. */

import { expect, test } from "vitest";
import { type Dtype, load, type Model } from "../../src/index.ts";
import { STORIES } from "../memory_folder.ts";

const idsOf = async (model: Model) => (await model.generate("Once upon a time", { maxTokens: 24 }).result()).ids;

test("two loads at once, and a third that is aborted among them, are what they are one after the other", async () => {
  const dtypes: Dtype[] = ["f32", "q8"];
  const alone: (readonly number[])[] = [];
  for (const dtype of dtypes) {
    await using model = await load(STORIES, { dtype });
    alone.push(await idsOf(model));
  }

  const leaving = new AbortController();
  const reason = new Error("not wanted any more");
  const aborted = load(STORIES, {
    signal: leaving.signal,
    onProgress: ({ phase, loadedBytes }) => {
      if (phase === "upload" && loadedBytes > 0) leaving.abort(reason);
    },
  });
  const [third, ...models] = await Promise.all([
    aborted.catch((error: unknown) => error),
    ...dtypes.map((dtype) => load(STORIES, { dtype })),
  ]);
  expect(third).toBe(reason);
  expect(models.map(({ dtype }) => dtype)).toEqual(dtypes);
  expect(await Promise.all(models.map(idsOf))).toEqual(alone);
  await models[0]!.dispose();
  expect(await idsOf(models[1]!)).toEqual(alone[1]);
  await models[1]!.dispose();
});
