/**
 * Do the two forms of the head agree to the bit on this device: that which keeps each workgroup's best, and that which stores
 * all products? Where they do, logits that are needed anyway tell the same choice, and the head need not be computed twice.
 *
 * They are two pipelines, and WGSL lets a compiler fuse `a * b + c` in one and not in the other (twin_check.ts).
 */

import type { Device } from "../gpu/device.ts";
import { fewRowKernel } from "./few_row_matmul.ts";
import { type FewRowVariant, fewRowGroups, outputsPerThread } from "./few_row_variant.ts";
import { type MatmulForm, matmulShape } from "./matmul_form.ts";
import { probeData, runProbe } from "./matmul_probe.ts";
import type { WeightFormat } from "./weight_format.ts";

/** Whether the best product of every workgroup is to the bit what the other form stores. */
export async function headFormsAgree(device: Device, format: WeightFormat, variant: FewRowVariant): Promise<boolean> {
  const bests = await probe(device, "headArgmax", format, variant);
  const products = await probe(device, "store", format, variant);
  const { outputs } = products;
  for (let row = 0; row < bests.rows; row++) {
    for (let group = 0; group < fewRowGroups("headArgmax", outputs, variant); group++) {
      const [best, id] = bests.words.subarray((row * outputs + group) * 2);
      if (best !== products.words[row * outputs + id!]) return false;
    }
  }
  return true;
}

async function probe(device: Device, form: MatmulForm, format: WeightFormat, variant: FewRowVariant) {
  const kind = { form, format };
  const kernel = fewRowKernel(device, kind, variant, 1);
  await kernel.prepare();
  const data = probeData(kind); // the same numbers for both
  const { rows, size } = data;
  const shape = matmulShape(kind, size, outputsPerThread(form));
  const columns = fewRowGroups(form, size.outputs, variant);
  const [result] = await runProbe(device, data, shape, [
    {
      ranges: Array.from({ length: rows }, (_, first) => ({ first, count: 1, linear: 0 })),
      record: (recorder, buffers, firstRange) => {
        const group = kernel.bind(buffers);
        for (let r = 0; r < rows; r++) kernel.record(recorder, group, firstRange + r, [columns]);
      },
    },
  ]);
  return { rows, outputs: size.outputs, words: Object.values(result!)[0]! };
}
