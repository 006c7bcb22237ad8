/** How the time of a matmul grows with its rows: reading the weights once for all rows is what verifying drafts lives on. */

import type { KernelCase } from "./cases.ts";
import { type Ceiling, type CeilingName, fractionsOf } from "./ceilings.ts";
import { PRODUCTS } from "./names.ts";
import { pairwise, type Spread, spread } from "./statistics.ts";
import type { Times } from "./timing.ts";

/** Matmuls of generated rows; `layer` is all products of a layer together. */
export type GrowthName = (typeof PRODUCTS)[number] | "layer" | "head";

export interface Growth {
  kernel: GrowthName;
  /** Fewest rows measured. */
  rows: number;
  /** Fractions of the ceilings that the fewest rows reach. */
  ofCopy: Spread;
  ofRead: Spread;
  /** Times of more rows over the time of the fewest. */
  overFewest: { rows: number; ratio: Spread }[];
}

/** What a matmul moves and takes with some rows. */
interface Measured {
  rows: number;
  bytes: number;
  /** Milliseconds of each repetition. */
  ms: number[];
}

/** Growth of each matmul of generated rows that was measured. */
export function growthOf(
  cases: readonly KernelCase[],
  times: readonly Times[],
  { copy, read }: Record<CeilingName, Ceiling>,
): Growth[] {
  const measured = (name: string): Measured[] =>
    cases.flatMap(({ kernel, rows, bytes }, i) => (kernel === name ? [{ rows, bytes, ms: times[i]!.ms }] : []));
  const products = PRODUCTS.map(measured);
  const layer = products.every(({ length }) => length > 0) ? products.reduce(together) : [];
  const all = [
    ...PRODUCTS.map((name, i) => [name, products[i]!] as const),
    ["layer", layer] as const,
    ["head", measured("head")] as const,
  ];
  return all.flatMap(([kernel, [fewest, ...more]]) => {
    if (!fewest) return [];
    const rates = fewest.ms.map((ms) => fewest.bytes / ms / 1e6);
    return {
      kernel,
      rows: fewest.rows,
      ofCopy: fractionsOf(copy, rates),
      ofRead: fractionsOf(read, rates),
      overFewest: more.map(({ rows, ms }) => ({ rows, ratio: spread(pairwise(ms, fewest.ms, (a, b) => a / b)) })),
    };
  });
}

/** Two matmuls, one after the other, with the same numbers of rows. */
function together(a: Measured[], b: Measured[]): Measured[] {
  return a.map(({ rows, bytes, ms }, i) => ({
    rows,
    bytes: bytes + b[i]!.bytes,
    ms: pairwise(ms, b[i]!.ms, (one, other) => one + other),
  }));
}
