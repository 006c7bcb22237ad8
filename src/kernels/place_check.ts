/**
 * The place check: does a row keep its bits wherever it stands in a many-row kernel, and whatever rows are beside it?
 *
 * The code is the same for every place, but WGSL lets a compiler fuse `a * b + c` in one place and not in another. Where it
 * does, the KV cache of a prompt depends on how the prompt was cut, and the kernel is not used.
 */

import type { Device } from "../gpu/device.ts";
import { runProbe } from "./matmul_probe.ts";
import type { RowRange } from "./rows.ts";
import type { Trial } from "./self_check.ts";

type ProbePass = Parameters<typeof runProbe>[3][number];

/** Cuts that are compared with the rows alone: numbers of rows, and what is left of them follows. */
const CUTS: readonly (readonly number[])[] = [[], [1, 7], [5]];

/** Runs a trial's rows one by one, together and in other cuts, and compares the outputs' bits. */
export async function rowsKeepTheirBits(device: Device, { data, shape, record }: Trial): Promise<boolean> {
  const alone = Array<number>(data.rows).fill(1);
  const passes = [alone, ...CUTS].map((cut): ProbePass => {
    const ranges = rangesOf(cut, data.rows);
    return {
      ranges,
      record: (recorder, buffers, firstRange) => {
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

/** The rows in pieces of these numbers of rows, and what is left of them. */
function rangesOf(counts: readonly number[], rows: number): RowRange[] {
  const ranges: RowRange[] = [];
  let first = 0;
  for (const count of [...counts, rows]) {
    ranges.push({ first, count: Math.min(count, rows - first) });
    first += count;
  }
  return ranges.filter(({ count }) => count > 0);
}
