/** `LoadOptions.kernels`: names of kernel variants, and the variants they stand for. */

import type { KernelChoice } from "../kernels/choice.ts";
import type { FewRowVariant } from "../kernels/few_row_matmul.ts";
import type { KernelOptions } from "../types.ts";
import { requireChoice, requireKnown } from "./options.ts";

/** The names of each option. */
export const KERNEL_NAMES = {
  fewRows: ["thread", "subgroup:4", "subgroup:8", "workgroup:8"],
  manyRows: ["thread", "tiles", "int8"],
  attention: ["threads", "workgroup"],
  promptAttention: ["threads", "tiles"],
  kv: ["f32", "f16"],
} as const satisfies { [K in keyof KernelOptions]-?: readonly KernelOptions[K][] };

const FEW_ROWS: Record<NonNullable<KernelOptions["fewRows"]>, FewRowVariant> = {
  thread: { kind: "thread", slices: 1 },
  "subgroup:4": { kind: "subgroup", slices: 4 },
  "subgroup:8": { kind: "subgroup", slices: 8 },
  "workgroup:8": { kind: "workgroup", slices: 8 },
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
  const [name] = Object.entries(FEW_ROWS).find(
    ([, { kind, slices }]) => kind === fewRows.kind && slices === fewRows.slices,
  )!;
  // Every variant that a device is given has a name: the keys are those of the option.
  return { fewRows: name as keyof typeof FEW_ROWS, ...others };
}
