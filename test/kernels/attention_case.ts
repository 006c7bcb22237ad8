/** Random inputs for attention over committed keys and rows in flight, and what must come out. */

import {
  type AttentionChunks,
  type AttentionMerge,
  attentionShape,
  chunkCount,
  type HeadShape,
} from "../../src/kernels/attention.ts";
import { KEYS_PER_CHUNK, NONE } from "../../src/kernels/constants.ts";
import { attention, matmul, softmax } from "../reference/ops.ts";
import type { Random } from "../reference/random.ts";
import {
  type Bench,
  expectUntouchedOutside,
  expectWithin,
  floats,
  type Range,
  rowSet,
  type TableRow,
  U,
  type Words,
} from "./harness.ts";

/** Rows in the table. */
export const ROWS = 32;

export interface AttentionCase {
  shape: HeadShape;
  /** Slots of the cache. */
  slots: number;
  /** `[ROWS][(heads + 2 kvHeads) * headDim]`; only the queries matter, and only of the rows of the range. */
  qkv: Float32Array<ArrayBuffer>;
  /** `[slots][kvHeads][headDim]`: NaN where no row may look. */
  keys: Float32Array<ArrayBuffer>;
  values: Float32Array<ArrayBuffer>;
  rows: Required<TableRow>[];
  range: Required<Range>;
}

/** Kernels compiled for one head size. */
export interface AttentionKernels {
  chunks: AttentionChunks;
  merge: AttentionMerge;
}

/** The slots that a row sees, in the order of their positions: committed ones, then its ancestors', then its own. */
export function visibleSlots(rows: readonly Required<TableRow>[], row: number, linear: number): number[] {
  const own: number[] = [];
  for (let at = row; at !== NONE && rows[at]!.position >= linear; at = rows[at]!.parent) own.unshift(rows[at]!.slot);
  const committed = Math.min(linear, rows[row]!.position + 1);
  return [...Array.from({ length: committed }, (_, position) => position), ...own];
}

/** Rows that follow `start` committed positions one after the other, in the slots of their positions. */
export function chain(first: number, count: number, start: number): Required<TableRow>[] {
  return tableOf(first, count, (i) => {
    const position = start + i;
    return { token: 0, position, slot: position, parent: i === 0 ? NONE : first + i - 1 };
  });
}

/** A random tree of rows behind `start` committed positions: each row continues an earlier one or the committed sequence. */
export function tree(random: Random, first: number, count: number, start: number): Required<TableRow>[] {
  // Slots in no order: whatever stands in them is found through the parents alone.
  const free = Array.from({ length: count }, (_, i) => start + i);
  const depths: number[] = [];
  return tableOf(first, count, (i) => {
    const parent = i === 0 || random.uniform() < 0.1 ? -1 : random.int(Math.max(0, i - 4), i - 1);
    depths.push(parent < 0 ? 0 : depths[parent]! + 1);
    const [slot] = free.splice(random.int(0, free.length - 1), 1);
    return { token: 0, position: start + depths[i]!, slot: slot!, parent: parent < 0 ? NONE : first + parent };
  });
}

/** A table of `ROWS` rows; those outside the range must not be looked at. */
function tableOf(first: number, count: number, row: (i: number) => Required<TableRow>): Required<TableRow>[] {
  const nowhere = { token: NONE, position: NONE, slot: NONE, parent: NONE };
  const rows = Array.from({ length: ROWS }, () => nowhere);
  for (let i = 0; i < count; i++) rows[first + i] = row(i);
  return rows;
}

/** Queries, keys and values: normal numbers where a row of the range may look, NaN elsewhere. */
export function randomCase(
  random: Random,
  shape: HeadShape,
  rows: Required<TableRow>[],
  range: Required<Range>,
): AttentionCase {
  const { heads, kvHeads, headDim } = shape;
  const rowNumbers = Array.from({ length: range.count }, (_, i) => range.first + i);
  const seen = new Set(rowNumbers.flatMap((row) => visibleSlots(rows, row, range.linear)));
  const slots = Math.max(...seen) + 1 + random.int(0, 70);
  const width = (heads + 2 * kvHeads) * headDim;
  const qkv = new Float32Array(ROWS * width).fill(NaN);
  // Scores of a size from near zero, where every key counts, to a sharp choice.
  const scale = random.pick([0.1, 1, 3]);
  for (const row of rowNumbers) qkv.set(random.normals(heads * headDim, scale), row * width);
  const cache = () => {
    const data = new Float32Array(slots * kvHeads * headDim).fill(NaN);
    for (const slot of seen) data.set(random.normals(kvHeads * headDim), slot * kvHeads * headDim);
    return data;
  };
  return { shape, slots, qkv, keys: cache(), values: cache(), rows, range };
}

/**
 * Runs both stages and reads the output.
 * @param bound what the host knows of the range: number of rows, and end of the positions
 * @param contextLength positions that the partial results have room for
 */
export async function attend(
  bench: Bench,
  { chunks, merge }: AttentionKernels,
  { shape, qkv, keys, values, rows, range }: AttentionCase,
  { count, end, contextLength = end }: { count: number; end: number; contextLength?: number },
): Promise<Words> {
  const { heads, headDim } = shape;
  const perChunk = ROWS * heads * chunkCount(contextLength);
  const shared = {
    range: bench.ranges({ first: 0, count: 0 }, range),
    shape: bench.uniform("shape", attentionShape(shape, contextLength)),
    rows: bench.rows(rows),
    partialSums: bench.output("partial sums", perChunk * headDim),
    partialSoftmax: bench.output("partial softmax", perChunk * 2),
  };
  const cache = { keys: bench.upload("keys", keys), values: bench.upload("values", values) };
  const attended = bench.output("attended", ROWS * heads * headDim);
  const first = chunks.bind({ ...shared, ...cache, qkv: bench.upload("qkv", qkv) });
  const second = merge.bind({ ...shared, attended });
  const set = rowSet(1, count, end);
  const [result] = await bench.run((recorder) => {
    chunks.dispatch(recorder, first, set, shape);
    merge.dispatch(recorder, second, set, shape);
  }, attended);
  bench.release();
  return result;
}

/** Fails unless the rows of the range hold the formula's result over what they see, and others what they held before. */
export function expectAttended(actual: Words, case_: AttentionCase, what: string): void {
  const { shape, qkv, keys, values, rows, range } = case_;
  const { heads, kvHeads, headDim } = shape;
  expectUntouchedOutside(actual, heads * headDim, range, what);
  const got = floats(actual);
  for (let row = range.first; row < range.first + range.count; row++) {
    const slots = visibleSlots(rows, row, range.linear);
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      const gather = (cache: Float32Array) => {
        const out = new Float32Array(slots.length * headDim);
        for (const [i, slot] of slots.entries()) {
          const at = (slot * kvHeads + kvHead) * headDim;
          out.set(cache.subarray(at, at + headDim), i * headDim);
        }
        return out;
      };
      const queryAt = (row * (heads + 2 * kvHeads) + head) * headDim;
      const query = qkv.subarray(queryAt, queryAt + headDim);
      const [k, v] = [gather(keys), gather(values)];
      const bounds = errorBounds(query, k, v);
      const outAt = (row * heads + head) * headDim;
      const label = `${what}, row ${row} (position ${rows[row]!.position}), head ${head}`;
      expectWithin(got.subarray(outAt, outAt + headDim), attention(query, k, v), (i) => bounds[i]!, label);
    }
  }
}

/**
 * Largest error of each output element in f32. The output is the mean of the values, weighted by exp(score).
 *
 * - A score is a sum of headDim products: 2 U for the scale and the scaled query, headDim U for products and sum, times the
 *   sum of the terms' sizes. Its error moves the key's weight by the same fraction.
 * - An exponential is off by 3 + 2 |x| ULP, an ULP being at most 2 U. A weight is a product of exponentials: the key's own,
 *   one for each later key of its chunk (of 0 but where a larger score turns up) and one for each later chunk; their |x|
 *   add up to at most twice the key's distance from the largest score, and the subtractions round too.
 *   Of a weight that is off by a fraction e, the mean feels e * weight * |value - mean|.
 * - The sums round twice a key and a chunk besides, in the numerator as a fraction of the mean size of the values, in the
 *   denominator as one of the mean. The quotient is off by 2.5 ULP.
 */
function errorBounds(query: Float32Array, keys: Float32Array, values: Float32Array): Float64Array {
  const headDim = query.length;
  const count = keys.length / headDim;
  const scale = Math.sqrt(headDim);
  const scores = matmul(keys, query).map((score) => score / scale);
  const sizes = matmul(keys.map(Math.abs), query.map(Math.abs)).map((size) => size / scale);
  const weights = softmax(scores);
  const mean = attention(query, keys, values);
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const steps = Math.min(count, KEYS_PER_CHUNK) + Math.ceil(count / KEYS_PER_CHUNK);
  return mean.map((average, i) => {
    let fromWeights = 0;
    let meanSize = 0;
    for (let k = 0; k < count; k++) {
      const distance = largest - scores[k]!;
      const error = (headDim + 2) * sizes[k]! + 2 * (3 * steps + 4 * distance) + 2 * distance;
      fromWeights += weights[k]! * error * Math.abs(values[k * headDim + i]! - average);
      meanSize += weights[k]! * Math.abs(values[k * headDim + i]!);
    }
    return U * (fromWeights + 2 * steps * (meanSize + Math.abs(average)) + 5 * Math.abs(average));
  });
}
