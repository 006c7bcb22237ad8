/** A page that loads and disposes of models all day: nothing is left, and nothing grows. In the slow run. */

import { expect, test } from "vitest";
import { load } from "../../src/index.ts";
import { STORIES } from "../memory_folder.ts";
import { SLOW } from "../slow.ts";

const CYCLES = 200;
/** Cycles whose memory is compared: the first ones after it has warmed up, and the last. */
const COMPARED = 20;
/** MB that the process may have more at the end: what one model of these takes is 8. */
const GROWTH_MB = 60;

const middle = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

test.skipIf(!SLOW)(`slow: ${CYCLES} loads and disposals leave no buffer, and the process does not grow`, async () => {
  const megabytes: number[] = [];
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const model = await load(STORIES, { cache: false });
    const results = await Promise.all(
      [0, 1].map((i) => model.generate([1, 403 + i], { maxTokens: 8, ignoreEos: true }).result()),
    );
    expect(results.map(({ ids }) => ids.length)).toEqual([8, 8]);
    await model.dispose();
    expect(model.memory()).toEqual({ buffers: 0, bytes: 0, byOwner: {} });
    megabytes.push(process.memoryUsage.rss() / 2 ** 20);
  }
  const [first, last] = [megabytes.slice(COMPARED, 2 * COMPARED), megabytes.slice(-COMPARED)];
  console.log(
    `resident: ${middle(first).toFixed(0)} MB after ${COMPARED} cycles, ${middle(last).toFixed(0)} MB at the end`,
  );
  expect(middle(last) - middle(first)).toBeLessThan(GROWTH_MB);
});
