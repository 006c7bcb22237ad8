/** Whether a device can run a choice of kernels. */

import type { Device } from "../../src/gpu/device.ts";
import type { KernelChoice } from "../../src/kernels/choice.ts";
import { runsVariant } from "../../src/kernels/many_row_matmul.ts";
import { formatName } from "../../src/kernels/weight_format.ts";
import type { Dtype } from "../../src/types.ts";
import { formatsOf } from "../../src/weights/dtype.ts";

/**
 * What is lacking, in words; undefined where nothing is.
 *
 * Of subgroups it must be known how small they can get: lanes of two subgroups cannot add up one output.
 */
export function lacking(device: Device, { fewRows, manyRows }: KernelChoice, dtype: Dtype): string | undefined {
  const { info } = device;
  if (fewRows.kind === "subgroup") {
    const smallest = info.features.includes("subgroups") ? (info.subgroupMinSize ?? 0) : 0;
    if (smallest < fewRows.slices) {
      const has = smallest > 0 ? `this device's may have ${smallest}` : "this device does not tell of any";
      return `fewRows=subgroup:${fewRows.slices} needs subgroups of at least ${fewRows.slices} threads: ${has}`;
    }
  }
  const { layers } = formatsOf(dtype);
  if (!runsVariant(device, manyRows, layers)) {
    return `manyRows=${manyRows} cannot be run on this device with weights in ${formatName(layers)}`;
  }
  return undefined;
}
