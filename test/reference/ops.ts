/**
 * The operations of a decoder, as formulas: pure functions, row-major arrays, every sum in float64.
 *
 * Written to be read and compared with, not for speed.
 */

/** Numbers of one array: what a file holds (float32) or what is computed here (float64). */
export type Floats = Float32Array | Float64Array;

/**
 * Root-mean-square norm: `x / sqrt(mean(x^2) + eps) * weight`.
 *
 * `x: [H]`, `weight: [H]` -> `[H]`.
 * Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", section 3 (eps as in Hugging Face).
 */
export function rmsNorm(x: Floats, weight: Floats, eps: number): Float64Array {
  checkLength("rmsNorm weight", weight, x.length);
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i]! * x[i]!;
  const scale = 1 / Math.sqrt(squares / x.length + eps);
  const out = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) out[i] = x[i]! * scale * weight[i]!;
  return out;
}

/**
 * Matrix times vector, `out[n] = sum over k of w[n, k] * x[k]`.
 *
 * `w: [N, K]` (a linear layer's weight, `[out, in]`), `x: [K]` -> `[N]`; N is `w.length / K`.
 */
export function matmul(w: Floats, x: Floats): Float64Array {
  const K = x.length;
  const N = w.length / K;
  if (!Number.isInteger(N)) throw new RangeError(`matmul: ${w.length} weights are no whole number of rows of ${K}`);
  const out = new Float64Array(N);
  let n = 0;
  // Four rows at a time, as their sums need not wait for each other: the same bits as one by one, in half the time.
  for (; n + 4 <= N; n += 4) {
    const [row0, row1, row2, row3] = [n * K, (n + 1) * K, (n + 2) * K, (n + 3) * K];
    let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
    for (let k = 0; k < K; k++) {
      sum0 += w[row0 + k]! * x[k]!;
      sum1 += w[row1 + k]! * x[k]!;
      sum2 += w[row2 + k]! * x[k]!;
      sum3 += w[row3 + k]! * x[k]!;
    }
    out[n] = sum0;
    out[n + 1] = sum1;
    out[n + 2] = sum2;
    out[n + 3] = sum3;
  }
  for (; n < N; n++) {
    for (let k = 0; k < K; k++) out[n] = out[n]! + w[n * K + k]! * x[k]!;
  }
  return out;
}

/**
 * Rotary position embedding of one head, in the rotate-half form: element i turns together with element i + headDim / 2
 * by the angle `position / theta^(2i / headDim)`.
 *
 * `vec: [headDim]` -> `[headDim]`.
 * Source: Su et al. 2021, "RoFormer", section 3.2.2; the pairing is that of Hugging Face's `rotate_half`. Hugging Face
 * computes the frequency, the angle, its cosine and its sine in float32, and so do we: at position 500 an angle in
 * float64 would differ by 1e-5, which is not an error of the kernel that is compared with this. `roundFrequency` is for
 * models that were run with frequencies of another format.
 */
export function rope(vec: Floats, position: number, theta: number, roundFrequency = Math.fround): Float64Array {
  const f32 = Math.fround;
  const half = vec.length / 2;
  const out = new Float64Array(vec.length);
  for (let i = 0; i < half; i++) {
    const invFreq = roundFrequency(1 / theta ** ((2 * i) / vec.length));
    const angle = f32(position * invFreq);
    const cos = f32(Math.cos(angle));
    const sin = f32(Math.sin(angle));
    out[i] = vec[i]! * cos - vec[i + half]! * sin;
    out[i + half] = vec[i + half]! * cos + vec[i]! * sin;
  }
  return out;
}

/** The bfloat16 nearest to `x` (by way of float32), ties to even; not for NaN. */
export function bfloat16(x: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  const bits = view.getUint32(0);
  const even = (bits >>> 16) & 1;
  view.setUint32(0, ((bits + 0x7fff + even) & 0xffff0000) >>> 0);
  return view.getFloat32(0);
}

/**
 * Softmax, with the maximum subtracted so that no exponential overflows.
 *
 * `x: [n]` -> `[n]`, all positive, summing to 1.
 */
export function softmax(x: Floats): Float64Array {
  let max = -Infinity;
  for (let i = 0; i < x.length; i++) max = Math.max(max, x[i]!);
  let sum = 0;
  const out = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) {
    out[i] = Math.exp(x[i]! - max);
    sum += out[i]!;
  }
  for (let i = 0; i < x.length; i++) out[i] = out[i]! / sum;
  return out;
}

/**
 * Scaled dot-product attention of one query head: `softmax(q . keys / sqrt(headDim)) . values`.
 *
 * `query: [headDim]`, `keys: [n, headDim]`, `values: [n, headDim]` -> `[headDim]`. Causality is the caller's choice of n:
 * the query of position p is given the n = p + 1 keys up to itself.
 * Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1.
 */
export function attention(query: Floats, keys: Floats, values: Floats): Float64Array {
  const headDim = query.length;
  checkLength("attention values", values, keys.length);
  const scores = new Float64Array(keys.length / headDim);
  for (let p = 0; p < scores.length; p++) {
    let dot = 0;
    for (let i = 0; i < headDim; i++) dot += query[i]! * keys[p * headDim + i]!;
    scores[p] = dot / Math.sqrt(headDim);
  }
  const weights = softmax(scores);
  const out = new Float64Array(headDim);
  for (let i = 0; i < headDim; i++) {
    let sum = 0;
    for (let p = 0; p < weights.length; p++) sum += weights[p]! * values[p * headDim + i]!;
    out[i] = sum;
  }
  return out;
}

/** `x * sigmoid(x)` of one number. Source: Elfwing et al. 2017, "Sigmoid-weighted linear units". */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** Element by element sum, the residual connection. `a: [H]`, `b: [H]` -> `[H]`. */
export function add(a: Floats, b: Floats): Float64Array {
  checkLength("add", b, a.length);
  const out = new Float64Array(a.length);
  for (let i = 0; i < a.length; i++) out[i] = a[i]! + b[i]!;
  return out;
}

/** Index of the largest number, `x: [n]` -> id. Ties go to the lowest id, everywhere in this project. */
export function argmax(x: Floats): number {
  let best = 0;
  for (let i = 1; i < x.length; i++) if (x[i]! > x[best]!) best = i;
  return best;
}

function checkLength(name: string, array: Floats, expected: number): void {
  if (array.length !== expected) throw new RangeError(`${name}: ${array.length} numbers, expected ${expected}`);
}
