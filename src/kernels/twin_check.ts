/**
 * The bit check: does row r of an M-row pipeline equal the same row of the one-row pipeline on this device?
 *
 * WGSL lets a compiler fuse or reorder `a * b + c`, differently in two pipelines. Where it does, near-ties flip between
 * drafting and verifying, so a bucket that fails this check is not used.
 */

import type { Device } from "../gpu/device.ts";
import { type FewRowVariant, fewRowGroups, outputsPerThread } from "./few_row_variant.ts";
import type { Kernel } from "./kernel.ts";
import { type MatmulKind, matmulShape } from "./matmul_form.ts";
import { probeData, runProbe } from "./matmul_probe.ts";

/**
 * Runs `count` rows as one pass of the M-row pipeline and as passes of the one-row pipeline, and compares the outputs' bits.
 * Both kernels must be prepared.
 */
export async function matchesOneRowTwin(
  device: Device,
  kind: MatmulKind,
  variant: FewRowVariant,
  { alone, together, count }: { alone: Kernel; together: Kernel; count: number },
): Promise<boolean> {
  const data = probeData(kind);
  const shape = matmulShape(kind, data.size, outputsPerThread(kind.form));
  const columns = fewRowGroups(kind.form, data.size.outputs, variant);
  const [left, right] = await runProbe(device, data, shape, [
    {
      ranges: Array.from({ length: count }, (_, first) => ({ first, count: 1 })),
      record: (recorder, buffers, firstRange) => {
        const group = alone.bind(buffers);
        for (let r = 0; r < count; r++) alone.record(recorder, group, firstRange + r, [columns]);
      },
    },
    {
      ranges: [{ first: 0, count }],
      record: (recorder, buffers, firstRange) =>
        together.record(recorder, together.bind(buffers), firstRange, [columns]),
    },
  ]);
  return Object.entries(left!).every(([name, words]) => words.every((word, i) => word === right![name]![i]));
}
