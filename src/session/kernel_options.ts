/** `LoadOptions.kernels`: names of kernel variants, and the variants they stand for. */

import type { KernelChoice } from "../kernels/choice.ts";
import type { FewRowVariant } from "../kernels/few_row_matmul.ts";
import type { KernelOptions } from "../types.ts";
import { requireChoice, requireKnown } from "./options.ts";

/** The names of each option. */
export const KERNEL_NAMES = {
  fewRows: ["thread", "subgroup", "workgroup"],
  manyRows: ["thread", "tiles", "int8"],
  attention: ["threads", "workgroup"],
  promptAttention: ["threads", "tiles"],
  kv: ["f32", "f16"],
} as const satisfies { [K in keyof KernelOptions]-?: readonly KernelOptions[K][] };

/** Slices of a forced variant: the smallest subgroups there are have four lanes. */
const FEW_ROWS: Record<NonNullable<KernelOptions["fewRows"]>, FewRowVariant> = {
  thread: { kind: "thread", slices: 1 },
  subgroup: { kind: "subgroup", slices: 4 },
  workgroup: { kind: "workgroup", slices: 8 },
};

/**
 * @throws InputError for an option or a name that there is not
 */
export function readKernelOptions(options: KernelOptions = {}): Partial<KernelChoice> {
  const where = "load";
  requireKnown(`${where}: kernels`, options, Object.keys(KERNEL_NAMES));
  for (const key of Object.keys(KERNEL_NAMES) as (keyof KernelOptions)[]) {
    const name = options[key];
    if (name !== undefined) requireChoice<string>(where, `kernels.${key}`, name, KERNEL_NAMES[key]);
  }
  const { fewRows, ...others } = options;
  const forced = Object.fromEntries(Object.entries(others).filter(([, name]) => name !== undefined));
  return { ...forced, ...(fewRows && { fewRows: FEW_ROWS[fewRows] }) };
}

/** A choice by the names of its options. */
export function kernelNames({ fewRows, ...others }: KernelChoice): Required<KernelOptions> {
  return { fewRows: fewRows.kind, ...others };
}
