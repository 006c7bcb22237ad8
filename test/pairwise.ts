/**
 * All pairs instead of all combinations: a short list of cases in which every two values of different dimensions meet.
 * Most faults need two of them to show, and the full product of a kernel's dimensions takes hours.
 */

import { SLOW } from "./slow.ts";

/**
 * Few of `cases` in which every pair of values that any of them holds occurs: greedily the one with the most pairs not seen
 * yet, the first of several.
 * @param dimensions what to take for a case's values
 */
export function pairwise<T extends object>(cases: readonly T[], dimensions: (c: T) => object = (c) => c): T[] {
  const pairs = cases.map((c) => {
    const values = Object.entries(dimensions(c)).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
    return values.flatMap((a, i) => values.slice(i + 1).map((b) => `${a}, ${b}`));
  });
  const open = new Set(pairs.flat());
  const chosen: T[] = [];
  while (open.size > 0) {
    const gains = pairs.map((ps) => ps.filter((pair) => open.has(pair)).length);
    const best = gains.indexOf(Math.max(...gains));
    chosen.push(cases[best]!);
    for (const pair of pairs[best]!) open.delete(pair);
  }
  return chosen;
}

/** The cases of a run: all of them in a slow one, else all pairs. */
export function casesOfRun<T extends object>(cases: readonly T[], dimensions?: (c: T) => object): readonly T[] {
  return SLOW ? cases : pairwise(cases, dimensions);
}
