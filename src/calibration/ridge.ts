/**
 * Ridge regression (Hoerl and Kennard 1970) from sums: the affine map y = W x + b with the least squared error, W held near the
 * identity: where a text tells little, what comes out of the exit is taken as it is.
 *
 *   W^T = I + (G + lambda I)^-1 (C - G),   G = sum (x - mean x)(x - mean x)^T,   C = sum (x - mean x)(y - mean y)^T,
 *   b = mean y - W mean x
 *
 * lambda is a share of G's mean diagonal. All in float64.
 */

/** Sums over rows of (x, 1) and y: `products` is of (x, 1) with (x, 1), `targets` of (x, 1) with y; all row-major. */
export interface PairSums {
  /** Elements of x, and of y. */
  size: number;
  /** `[size + 4][size + 4]`: x, then a one and three zeros. */
  products: Float32Array;
  /** `[size + 4][size]` */
  targets: Float32Array;
}

export interface AffineMap {
  /** `[size][size]`, an output a row. */
  weight: Float32Array<ArrayBuffer>;
  bias: Float32Array<ArrayBuffer>;
}

/** Called now and then, with the share that is done; what it throws ends the work. */
export type Breath = (done: number) => Promise<void>;

/**
 * @param ridge lambda as a share of the mean diagonal
 * @throws RangeError where there were no rows, or numbers that are none
 */
export async function fitRidge(
  { size, products, targets }: PairSums,
  ridge: number,
  breath: Breath,
): Promise<AffineMap> {
  const stride = size + 4;
  const rows = products[size * stride + size]!;
  if (!(rows > 0)) throw new RangeError("a map cannot be fitted to no rows");
  const meanX = Float64Array.from({ length: size }, (_, i) => products[size * stride + i]! / rows);
  const meanY = Float64Array.from({ length: size }, (_, j) => targets[size * size + j]! / rows);
  const gram = new Float64Array(size * size);
  const cross = new Float64Array(size * size);
  let trace = 0;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      // Rounding leaves the two halves a little apart.
      const sum = (products[i * stride + j]! + products[j * stride + i]!) / 2;
      gram[i * size + j] = sum - rows * meanX[i]! * meanX[j]!;
      cross[i * size + j] = targets[i * size + j]! - rows * meanX[i]! * meanY[j]! - gram[i * size + j]!;
    }
    trace += gram[i * size + i]!;
  }
  const lambda = (ridge * trace) / size;
  if (!(lambda > 0) || !Number.isFinite(lambda)) throw new RangeError("a map cannot be fitted to what does not vary");
  for (let i = 0; i < size; i++) gram[i * size + i]! += lambda;
  await solve(gram, cross, size, breath);
  const weight = new Float32Array(size * size);
  const bias = new Float32Array(size);
  for (let j = 0; j < size; j++) {
    let sum = meanY[j]!;
    for (let i = 0; i < size; i++) {
      const element = cross[i * size + j]! + (i === j ? 1 : 0);
      weight[j * size + i] = element;
      sum -= element * meanX[i]!;
    }
    bias[j] = sum;
  }
  return { weight, bias };
}

/** Solves A X = B in place of B, for symmetric positive A, by Cholesky's factor in the lower half of A. All `[size][size]`. */
async function solve(a: Float64Array, b: Float64Array, size: number, breath: Breath): Promise<void> {
  const row = (matrix: Float64Array, i: number) => matrix.subarray(i * size, (i + 1) * size);
  const work = size ** 3 / 6 + size ** 3; // multiplications: of the factor, and of the two substitutions
  let done = 0;
  for (let i = 0; i < size; i++) {
    const own = row(a, i);
    for (let j = 0; j <= i; j++) {
      const other = row(a, j);
      let sum = own[j]!;
      for (let k = 0; k < j; k++) sum -= own[k]! * other[k]!;
      own[j] = j < i ? sum / other[j]! : Math.sqrt(sum);
    }
    done += (i * i) / 2;
    await breath(done / work);
  }
  // Whole rows of B at a time: neighbours in memory, and one element of the factor for all of them.
  for (let i = 0; i < size; i++) {
    const factor = row(a, i);
    const own = row(b, i);
    for (let k = 0; k < i; k++) subtract(own, factor[k]!, row(b, k));
    scale(own, 1 / factor[i]!);
    done += i * size;
    await breath(done / work);
  }
  for (let i = size - 1; i >= 0; i--) {
    const own = row(b, i);
    for (let k = i + 1; k < size; k++) subtract(own, a[k * size + i]!, row(b, k));
    scale(own, 1 / a[i * size + i]!);
    done += (size - 1 - i) * size;
    await breath(done / work);
  }
}

function subtract(from: Float64Array, factor: number, row: Float64Array): void {
  for (let j = 0; j < from.length; j++) from[j]! -= factor * row[j]!;
}

function scale(row: Float64Array, factor: number): void {
  for (let j = 0; j < row.length; j++) row[j]! *= factor;
}
