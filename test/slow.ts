/** Tests over all combinations take minutes: they run with LAYERLEAP_SLOW=1. */

export const SLOW = process.env.LAYERLEAP_SLOW === "1";

/** Every combination of one choice of each column. */
export function fullMatrix<const C extends Readonly<Record<string, readonly unknown[]>>>(
  columns: C,
): { [K in keyof C]: C[K][number] }[] {
  const rows = Object.entries(columns).reduce<Record<string, unknown>[]>(
    (rows, [name, choices]) => rows.flatMap((row) => choices.map((choice) => ({ ...row, [name]: choice }))),
    [{}],
  );
  return rows as { [K in keyof C]: C[K][number] }[];
}
