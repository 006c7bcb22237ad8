/**
 * Do the two forms of the head agree to the bit on this device: that which keeps each workgroup's best, and that which stores
 * all products? Where they do, logits that are needed anyway tell the same choice, and the head need not be computed twice.
 *
 * They are two pipelines, and WGSL lets a compiler fuse `a * b + c` in one and not in the other (twin_check.ts).
 */

import type { Device } from "../gpu/device.ts";
import { fewRowKernel } from "./few_row_matmul.ts";
import { type FewRowVariant, fewRowGroupOf, fewRowGroups, outputsPerThread } from "./few_row_variant.ts";
import { type MatmulForm, matmulShape, spreadOf } from "./matmul_form.ts";
import { CHECK_SIZE, checkNumbers, probeData, runProbe } from "./matmul_probe.ts";
import type { WeightFormat } from "./weight_format.ts";

/** Probes until each of a thread's outputs has been the best of a workgroup; of 64 outputs of random sizes not all are in one. */
const MOST_PROBES = 16;

/** Whether the best product of every workgroup is to the bit that of the other form. */
export async function headFormsAgree(device: Device, format: WeightFormat, variant: FewRowVariant): Promise<boolean> {
  const told = new Set<number>();
  for (let seed = 1; seed <= MOST_PROBES && told.size < outputsPerThread("store"); seed++) {
    const bests = await probe(device, "headArgmax", format, variant, seed);
    const products = await probe(device, "store", format, variant, seed);
    const { outputs } = products;
    const groups = fewRowGroups("headArgmax", outputs, variant);
    const values = new Float32Array(products.words.buffer, products.words.byteOffset, products.words.length);
    for (let row = 0; row < bests.rows; row++) {
      const largest: number[] = [];
      for (let id = 0; id < outputs; id++) {
        const group = fewRowGroupOf("headArgmax", id, outputs, variant);
        const best = largest[group];
        if (best === undefined || values[row * outputs + id]! > values[row * outputs + best]!) largest[group] = id;
      }
      for (let group = 0; group < groups; group++) {
        const [best, id] = bests.words.subarray((row * outputs + group) * 2);
        if (id !== largest[group] || best !== products.words[row * outputs + id!]) return false;
        told.add(Math.floor(id! / spreadOf(outputs, outputsPerThread("store"))));
      }
    }
  }
  return true;
}

async function probe(device: Device, form: MatmulForm, format: WeightFormat, variant: FewRowVariant, seed: number) {
  const kind = { form, format };
  const kernel = fewRowKernel(device, kind, variant, 1);
  await kernel.prepare();
  const data = probeData(kind, CHECK_SIZE, checkNumbers(seed * 0x9e3779b9)); // the same numbers for both
  const { rows, size } = data;
  const shape = matmulShape(kind, size, outputsPerThread(form));
  const columns = fewRowGroups(form, size.outputs, variant);
  const [result] = await runProbe(device, data, shape, [
    {
      ranges: Array.from({ length: rows }, (_, first) => ({ first, count: 1 })),
      record: (recorder, buffers, firstRange) => {
        const group = kernel.bind(buffers);
        for (let r = 0; r < rows; r++) kernel.record(recorder, group, firstRange + r, [columns]);
      },
    },
  ]);
  return { rows, outputs: size.outputs, words: Object.values(result!)[0]! };
}
