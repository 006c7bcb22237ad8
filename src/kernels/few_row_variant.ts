/** How the threads of the few-row matmul share its outputs, and what of the grid follows from it. */

import { WORKGROUP } from "./constants.ts";
import { groups } from "./kernel.ts";
import { type MatmulForm, spreadOf, widthOf } from "./matmul_form.ts";

/**
 * How threads share an output: not at all (`thread`), as lanes of a subgroup, or through workgroup memory. `slices`: threads
 * an output, a power of two.
 */
export type FewRowVariant =
  | { kind: "thread"; slices: 1 }
  | { kind: "subgroup"; slices: 4 | 8 | 16 }
  | { kind: "workgroup"; slices: 4 | 8 | 16 };

export const THREAD_VARIANT: FewRowVariant = { kind: "thread", slices: 1 };

/** Every variant by its name. */
export const FEW_ROW_VARIANTS = {
  thread: THREAD_VARIANT,
  "subgroup:4": { kind: "subgroup", slices: 4 },
  "subgroup:8": { kind: "subgroup", slices: 8 },
  "subgroup:16": { kind: "subgroup", slices: 16 },
  "workgroup:4": { kind: "workgroup", slices: 4 },
  "workgroup:8": { kind: "workgroup", slices: 8 },
  "workgroup:16": { kind: "workgroup", slices: 16 },
} as const satisfies Record<string, FewRowVariant>;

export type FewRowName = keyof typeof FEW_ROW_VARIANTS;

export function fewRowName({ kind, slices }: FewRowVariant): FewRowName {
  return kind === "thread" ? kind : `${kind}:${slices}`;
}

/** Weight columns whose sums a thread keeps. */
export const COLUMNS = 4;

/** Outputs of which a thread owns the sums. */
export function outputsPerThread(form: MatmulForm): number {
  return COLUMNS / widthOf(form);
}

/** Workgroups that make `outputs` outputs of a slab of rows: candidates a row of the `headArgmax` form. */
export function fewRowGroups(form: MatmulForm, outputs: number, { slices }: FewRowVariant): number {
  return groups(spreadOf(outputs, outputsPerThread(form)), WORKGROUP / slices);
}

/** The workgroup, of those that make `outputs` outputs, that makes output number `output`. */
export function fewRowGroupOf(form: MatmulForm, output: number, outputs: number, { slices }: FewRowVariant): number {
  return Math.floor((output % spreadOf(outputs, outputsPerThread(form))) / (WORKGROUP / slices));
}
