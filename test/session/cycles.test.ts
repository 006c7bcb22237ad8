/** A page that loads and disposes of models all day: nothing is left, and nothing grows. In the slow run. */

import { expect, test } from "vitest";
import { load } from "../../src/index.ts";
import { collectGarbage } from "../collect_garbage.ts";
import { STORIES } from "../memory_folder.ts";
import { SLOW } from "../slow.ts";

const CYCLES = 200;
/** Cycles between two looks at the memory, and looks that are compared: those after it has warmed up, and the last. */
const LOOK_AFTER = 10;
const COMPARED = 4;
/** MB that JavaScript, and the process, may have more at the end. A device that was kept took 0.4 and 7 a cycle. */
const HEAP_GROWTH_MB = 2;
const GROWTH_MB = 150;

const middle = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

test.skipIf(!SLOW)(`slow: ${CYCLES} loads and disposals leave no buffer, and the process does not grow`, async () => {
  const looks: { heap: number; resident: number }[] = [];
  for (let cycle = 1; cycle <= CYCLES; cycle++) {
    const model = await load(STORIES, { cache: false });
    const results = await Promise.all(
      [0, 1].map((i) => model.generate([1, 403 + i], { maxTokens: 8, ignoreEos: true }).result()),
    );
    expect(results.map(({ ids }) => ids.length)).toEqual([8, 8]);
    await model.dispose();
    expect(model.memory()).toEqual({ buffers: 0, bytes: 0, byOwner: {} });
    if (cycle % LOOK_AFTER > 0) continue;
    await collectGarbage();
    const { heapUsed, rss } = process.memoryUsage();
    looks.push({ heap: heapUsed / 2 ** 20, resident: rss / 2 ** 20 });
  }
  const [early, late] = [looks.slice(COMPARED, 2 * COMPARED), looks.slice(-COMPARED)];
  const growthOf = (what: "heap" | "resident") =>
    middle(late.map((look) => look[what])) - middle(early.map((look) => look[what]));
  console.log(looks.map(({ heap, resident }) => `${heap.toFixed(1)} of ${resident.toFixed(0)} MB`).join(", "));
  expect(growthOf("heap")).toBeLessThan(HEAP_GROWTH_MB);
  expect(growthOf("resident")).toBeLessThan(GROWTH_MB);
});
