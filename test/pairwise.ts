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

/**
 * Rows of choices, one of each column, such that every two choices of two columns stand together in some row.
 *
 * Greedy: a row starts with a pair not yet covered and takes in each column what covers most. Far fewer rows than all
 * combinations, and a fault that two choices together bring about is still met. For choices that all go together: it never
 * lists their combinations, of which there may be too many for `pairwise`.
 */
export function pairwiseOf<const C extends Readonly<Record<string, readonly unknown[]>>>(
  columns: C,
): { [K in keyof C]: C[K][number] }[] {
  const names = Object.keys(columns);
  const key = (a: string, i: number, b: string, j: number) => (a < b ? `${a} ${i} ${b} ${j}` : `${b} ${j} ${a} ${i}`);
  const open = new Map<string, [string, number, string, number]>();
  for (const [n, a] of names.entries()) {
    for (const b of names.slice(n + 1)) {
      for (const i of columns[a]!.keys()) for (const j of columns[b]!.keys()) open.set(key(a, i, b, j), [a, i, b, j]);
    }
  }
  const rows: Record<string, unknown>[] = [];
  for (let pair = open.values().next().value; pair; pair = open.values().next().value) {
    const chosen = new Map<string, number>([
      [pair[0], pair[1]],
      [pair[2], pair[3]],
    ]);
    for (const name of names.filter((name) => !chosen.has(name))) {
      let [best, most] = [rows.length % columns[name]!.length, -1];
      for (let n = 0; n < columns[name]!.length; n++) {
        const choice = (rows.length + n) % columns[name]!.length;
        const covers = [...chosen].filter(([other, i]) => open.has(key(name, choice, other, i))).length;
        if (covers > most) [best, most] = [choice, covers];
      }
      chosen.set(name, best);
    }
    for (const [a, i] of chosen) for (const [b, j] of chosen) open.delete(key(a, i, b, j));
    rows.push(Object.fromEntries([...chosen].map(([name, i]) => [name, columns[name]![i]])));
  }
  return rows as { [K in keyof C]: C[K][number] }[];
}
