/**
 * The place check: does a row keep its bits wherever it stands in a many-row kernel, and whatever rows are beside it?
 *
 * The code is the same for every place, but WGSL lets a compiler fuse `a * b + c` in one place and not in another. Where it
 * does, the KV cache of a prompt depends on how the prompt was cut, and the kernel is not used.
 */

import type { Device } from "../gpu/device.ts";
import { runProbe } from "./matmul_probe.ts";
import type { Trial } from "./self_check.ts";

/** First rows and numbers of rows of the cuts that are compared with the rows alone. */
const CUTS = [
  [[0, 16]],
  [
    [0, 1],
    [1, 7],
    [8, 8],
  ],
  [
    [0, 5],
    [5, 11],
  ],
] as const;

/** Runs a trial's rows one by one, together and in other cuts, and compares the outputs' bits. */
export async function rowsKeepTheirBits(device: Device, { data, shape, record }: Trial): Promise<boolean> {
  const alone = Array.from({ length: data.rows }, (_, row) => [row, 1] as const);
  const passes = [alone, ...CUTS].map((cut) => {
    const ranges = cut.map(([first, count]) => ({ first, count, linear: 0 }));
    return {
      ranges,
      record: (...[recorder, buffers, firstRange]: Parameters<Parameters<typeof runProbe>[3][number]["record"]>) => {
        for (const [i, { count }] of ranges.entries()) {
          record(recorder, buffers, { range: firstRange + i, count, end: 0 });
        }
      },
    };
  });
  const [expected, ...others] = await runProbe(device, data, shape, passes);
  return others.every((outputs) =>
    Object.entries(outputs).every(([name, words]) => words.every((word, i) => word === expected![name]![i])),
  );
}
