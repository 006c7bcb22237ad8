/** The trial of sampling before its first use: passes here, with a margin, and finds kernels that compute wrong. */

import { expect, test } from "vitest";
import { philox } from "../../src/kernels/philox.ts";
import { checkSampling, samplingTrial } from "../../src/kernels/sampling_check.ts";
import { philox as reference } from "../reference/philox.ts";
import { seeded } from "../reference/random.ts";

import { openBench } from "./harness.ts";
import { miscompiling } from "./miscompile.ts";

const bench = openBench();

test("the best two of each row are further apart than f32 rounds, and no row has a single choice", () => {
  const { gaps, ids } = samplingTrial();
  for (const gap of gaps) {
    expect(gap).toBeGreaterThan(1e-3);
    expect(gap).toBeLessThan(100);
  }
  expect(new Set(ids).size).toBeGreaterThan(4);
});

test(
  "the host's Philox is the reference's",
  seeded((random) => {
    for (let i = 0; i < 100; i++) {
      const word = () => random.int(0, 2 ** 32 - 1);
      const counter = [word(), word(), word(), word()] as const;
      const key = [word(), word()] as const;
      expect(philox(counter, key)).toEqual(reference(counter, key));
    }
  }),
);

test("passes", async () => {
  await checkSampling(bench.device);
});

test.each([
  ["sampling/adjust", "sampling.frequencyPenalty * f32(count)", "sampling.frequencyPenalty"],
  ["sampling/filter", "if (asked.typicalP < 1.0)", "if (false)"],
  ["sampling/filter", "asked.topK > 0u &&", "false &&"],
  ["sampling/pick", "PHILOX_M.x * c.x,", "PHILOX_M.y * c.x,"],
  ["sampling/pick", "rows[row].position + 1u", "rows[row].position"],
])("finds a wrong %s (%s)", async (kernel, right, wrong) => {
  const device = miscompiling(bench.device, ({ name }) => (name === kernel ? [[right, wrong]] : []));
  await expect(checkSampling(device)).rejects.toThrow(new RegExp(`${kernel}: .*wrong numbers`));
});
