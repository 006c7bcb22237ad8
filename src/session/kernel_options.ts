/** `LoadOptions.kernels`: names of kernel variants, and the variants they stand for. */

import type { KernelChoice } from "../kernels/choice.ts";
import { FEW_ROW_VARIANTS, type FewRowName, fewRowName } from "../kernels/few_row_variant.ts";
import type { KernelOptions } from "../types.ts";
import { requireChoice, requireKnown } from "./options.ts";

/** The names of each option. */
export const KERNEL_NAMES = {
  fewRows: Object.keys(FEW_ROW_VARIANTS) as FewRowName[],
  manyRows: ["thread", "tiles", "int8"],
  attention: ["threads", "workgroup"],
  promptAttention: ["threads", "tiles"],
  kv: ["f32", "f16"],
} as const satisfies { [K in keyof KernelOptions]-?: readonly KernelOptions[K][] };

/**
 * @param where the public function whose option it is
 * @throws InputError for an option or a name that there is not
 */
export function readKernelOptions(options: KernelOptions = {}, where = "load"): Partial<KernelChoice> {
  requireKnown(`${where}: kernels`, options, Object.keys(KERNEL_NAMES));
  for (const key of Object.keys(KERNEL_NAMES) as (keyof KernelOptions)[]) {
    const name = options[key];
    if (name !== undefined) requireChoice<string>(where, `kernels.${key}`, name, KERNEL_NAMES[key]);
  }
  const { fewRows, ...others } = options;
  const forced = Object.fromEntries(Object.entries(others).filter(([, name]) => name !== undefined));
  return { ...forced, ...(fewRows && { fewRows: FEW_ROW_VARIANTS[fewRows] }) };
}

/** A choice by the names of its options. */
export function kernelNames({ fewRows, ...others }: KernelChoice): Required<KernelOptions> {
  return { fewRows: fewRowName(fewRows), ...others };
}
