/** Least squares without negative coefficients: min sum_i w_i (x_i u - 1)^2 + sum_j r_j (u_j - u_anchor)^2 over u >= 0. */

export interface Observation {
  /** Each coefficient's share of what was observed, were it 1. */
  readonly features: readonly number[];
  readonly weight: number;
}

/** Sweeps of the descent, at most: enough for coefficients that only the ridge tells apart. */
const SWEEPS = 400;
/** A sweep that moves no coefficient by more is the last. */
const SETTLED = 1e-9;

/**
 * Coordinate descent on the normal equations (Franc, Hlavac and Navara 2005, algorithm 1).
 * @param ridge how strongly each coefficient is held to that of `anchor`
 * @param start where the descent begins
 */
export function nonNegativeLeastSquares(
  observations: readonly Observation[],
  ridge: readonly number[],
  anchor: number,
  start: readonly number[],
): number[] {
  const size = start.length;
  const matrix = start.map(() => new Array<number>(size).fill(0));
  const right = new Array<number>(size).fill(0);
  for (const { features, weight } of observations) {
    for (let i = 0; i < size; i++) {
      right[i]! += weight * features[i]!;
      for (let j = 0; j < size; j++) matrix[i]![j]! += weight * features[i]! * features[j]!;
    }
  }
  for (let i = 0; i < size; i++) {
    if (i === anchor) continue;
    matrix[i]![i]! += ridge[i]!;
    matrix[anchor]![anchor]! += ridge[i]!;
    matrix[i]![anchor]! -= ridge[i]!;
    matrix[anchor]![i]! -= ridge[i]!;
  }
  const solution = [...start];
  let moved = Number.POSITIVE_INFINITY;
  for (let sweep = 0; sweep < SWEEPS && moved > SETTLED; sweep++) {
    moved = 0;
    for (let i = 0; i < size; i++) {
      if (matrix[i]![i]! <= 0) continue;
      let residual = right[i]!;
      for (let j = 0; j < size; j++) residual -= matrix[i]![j]! * solution[j]!;
      const next = Math.max(0, solution[i]! + residual / matrix[i]![i]!);
      moved = Math.max(moved, Math.abs(next - solution[i]!));
      solution[i] = next;
    }
  }
  return solution;
}
