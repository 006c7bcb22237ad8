/**
 * Pearson's chi-square test: do counts agree with the probabilities they should come from?
 *
 * Written to be read; good for tens of thousands of cells.
 */

export interface ChiSquare {
  /** Sum of `(observed - expected)^2 / expected` over the cells. */
  statistic: number;
  /** Degrees of freedom: the cells compared, less one. */
  degrees: number;
  /** How probable it is that counts of these probabilities lie as far off, or farther. */
  pValue: number;
}

/** The test is good only where as many are expected in a cell (Cochran 1954). */
const LEAST_EXPECTED = 5;

/**
 * The test of `observed: [n]` counts, of `samples` in all, against `expected: [n]` probabilities.
 *
 * Cells that expect fewer than 5 are taken as one; where that one expects fewer as well, it joins the smallest other. What
 * has probability 0 and was observed all the same makes the p-value 0.
 */
export function chiSquare(observed: ArrayLike<number>, expected: ArrayLike<number>, samples: number): ChiSquare {
  check(observed, expected, samples);
  const cells: { observed: number; expected: number }[] = [];
  const pool = { observed: 0, expected: 0 };
  let impossible = false;
  for (let i = 0; i < observed.length; i++) {
    const cell = { observed: observed[i]!, expected: expected[i]! * samples };
    if (cell.expected === 0 && cell.observed > 0) impossible = true;
    if (cell.expected >= LEAST_EXPECTED) {
      cells.push(cell);
    } else {
      pool.observed += cell.observed;
      pool.expected += cell.expected;
    }
  }
  if (pool.expected >= LEAST_EXPECTED || cells.length === 0) {
    cells.push(pool);
  } else {
    const smallest = cells.reduce((least, cell) => (cell.expected < least.expected ? cell : least));
    smallest.observed += pool.observed;
    smallest.expected += pool.expected;
  }

  const degrees = cells.length - 1;
  if (impossible) return { statistic: Infinity, degrees, pValue: 0 };
  let statistic = 0;
  for (const cell of cells) statistic += (cell.observed - cell.expected) ** 2 / cell.expected;
  return { statistic, degrees, pValue: chiSquareTail(statistic, degrees) };
}

/**
 * Probability that a chi-square variable is at least `statistic`: the regularised upper incomplete gamma function
 * Q(degrees / 2, statistic / 2).
 */
export function chiSquareTail(statistic: number, degrees: number): number {
  if (degrees === 0) return 1; // of a single cell there is nothing to compare
  const a = degrees / 2;
  const x = statistic / 2;
  if (x <= 0) return 1;
  if (x === Infinity) return 0;
  // x^a e^-x / Gamma(a); a is a multiple of 1/2.
  const factor = Math.exp(a * Math.log(x) - x - logGamma(degrees));
  return x < a + 1 ? 1 - factor * lowerSeries(a, x) : factor * upperFraction(a, x);
}

/** Terms of the series and of the fraction: about sqrt(a) matter where they converge worst, at x near a. */
const TERMS = 10_000;

/** `1/a + x/(a (a+1)) + x^2/(a (a+1) (a+2)) + ...` (NIST's DLMF, 8.11.4). */
function lowerSeries(a: number, x: number): number {
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < TERMS; n++) {
    term *= x / (a + n);
    sum += term;
  }
  return sum;
}

/** `1/(x+1-a - 1(1-a)/(x+3-a - 2(2-a)/(x+5-a - ...)))` (Abramowitz and Stegun 6.5.31, its even part), from its end. */
function upperFraction(a: number, x: number): number {
  let rest = 0;
  for (let n = TERMS; n > 0; n--) rest = (n * (n - a)) / (x + 2 * n + 1 - a - rest);
  return 1 / (x + 1 - a - rest);
}

/** log Gamma(degrees / 2), down to Gamma(1) = 1 or Gamma(1/2) = sqrt(pi) by Gamma(a) = (a - 1) Gamma(a - 1). */
function logGamma(degrees: number): number {
  let a = degrees / 2;
  let sum = 0;
  for (; a > 1; a--) sum += Math.log(a - 1);
  return sum + (a === 1 ? 0 : Math.log(Math.PI) / 2);
}

function check(observed: ArrayLike<number>, expected: ArrayLike<number>, samples: number): void {
  const sum = (numbers: ArrayLike<number>): number => Array.from(numbers).reduce((total, x) => total + x, 0);
  if (observed.length !== expected.length) {
    throw new RangeError(`chiSquare: ${observed.length} counts and ${expected.length} probabilities`);
  }
  if (sum(observed) !== samples) throw new RangeError(`chiSquare: ${sum(observed)} counted of ${samples} samples`);
  if (!(Math.abs(sum(expected) - 1) < 1e-6)) throw new RangeError(`chiSquare: probabilities sum to ${sum(expected)}`);
}
