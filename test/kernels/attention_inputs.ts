/** Random inputs for attention over keys and values of either format, and what must come out. */

import { expect } from "vitest";
import { chunkCount, type HeadShape, type ScoreRule } from "../../src/kernels/attention_shape.ts";
import { KEYS_PER_CHUNK, NONE } from "../../src/kernels/constants.ts";
import type { KvType } from "../../src/kernels/kv_format.ts";
import { pairwiseOf } from "../pairwise.ts";
import { matmul, softmax } from "../reference/ops.ts";
import type { Random } from "../reference/random.ts";
import { fullMatrix, SLOW } from "../slow.ts";
import {
  bits,
  type Data,
  expectUntouchedOutside,
  expectWithin,
  floats,
  POISON,
  type Range,
  type TableRow,
  U,
  type Words,
} from "./harness.ts";
import { randomPages, slotIn } from "./page_tables.ts";

/** What the tests of every attention kernel go through. */
export const KV_TYPES = ["f32", "f16"] as const;
export const HEAD_DIMS = [8, 16, 24, 32, 40, 64, 80, 96, 128, 256] as const;
/** Query heads and key-value heads. */
export const HEADS = ["1/1", "3/1", "7/7", "9/3", "8/2"] as const;
export const RULES = ["plain", "window", "soft cap", "window and soft cap", "other scale"] as const;
export type Rule = (typeof RULES)[number];
/** Positions that a pass's first row sees without a window. */
export const CONTEXTS = [1, 2, 63, 64, 65, 128, 200, 1000, 3000] as const;

export function headShape(heads: (typeof HEADS)[number], headDim: number): HeadShape {
  const [queryHeads = 0, kvHeads = 0] = heads.split("/").map(Number);
  return { heads: queryHeads, kvHeads, headDim };
}

export function scoreRule(random: Random, rule: Rule): ScoreRule {
  const window = random.pick([1, 2, 63, 64, 65, random.int(1, 200), random.int(1, 2000)]);
  const softCap = random.pick([0.5, 5, 50]);
  switch (rule) {
    case "plain":
      return {};
    case "window":
      return { window };
    case "soft cap":
      return { softCap };
    case "window and soft cap":
      return { window, softCap };
    case "other scale":
      return { scale: random.pick([1, 0.05, -0.3]) };
  }
}

export type Rows = readonly Required<Pick<TableRow, "token" | "position" | "slot" | "parent">>[];

/** The rows of a pass. Positions below `linear` are committed. */
export interface KeyRange extends Range {
  linear: number;
}

export interface AttentionInputs {
  shape: HeadShape;
  rule: ScoreRule;
  kvType: KvType;
  /** `[rows of the table][heads * headDim]`; NaN outside the range. */
  queries: Float32Array<ArrayBuffer>;
  /** `[slots][kvHeads * headDim]`, numbers that `kvType` holds exactly; NaN where no row may look. */
  keys: Float32Array<ArrayBuffer>;
  values: Float32Array<ArrayBuffer>;
  rows: Rows;
  range: KeyRange;
  /** Where committed positions stand. */
  pages: Uint32Array<ArrayBuffer>;
  /** The lane of the text. */
  lane: number;
}

/** The rows as the kernels are given them. */
export function tableRows({
  rows,
  range: { linear },
  lane,
}: Pick<AttentionInputs, "rows" | "range" | "lane">): TableRow[] {
  return rows.map((row) => ({ ...row, linear, lane }));
}

/** The page table: nothing but the text's own pages may be looked at. */
export function pageTable({ pages, lane }: Pick<AttentionInputs, "pages" | "lane">): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array((lane + 1) * pages.length).fill(NONE);
  table.set(pages, lane * pages.length);
  return table;
}

/** Rows that follow `start` committed positions one after the other, in the slots of their positions. */
export function chain(table: number, first: number, count: number, start: number): Rows {
  return tableOf(table, first, count, (i) => {
    const position = start + i;
    return { token: 0, position, slot: position, parent: i === 0 ? NONE : first + i - 1 };
  });
}

/** A random tree of rows behind `start` committed positions: each row continues an earlier one or the committed sequence. */
export function tree(random: Random, table: number, first: number, count: number, start: number): Rows {
  // Slots in no order: whatever stands in them is found through the parents alone.
  const free = Array.from({ length: count }, (_, i) => start + i);
  const depths: number[] = [];
  return tableOf(table, first, count, (i) => {
    const parent = i === 0 || random.uniform() < 0.1 ? -1 : random.int(Math.max(0, i - 4), i - 1);
    depths.push(parent < 0 ? 0 : depths[parent]! + 1);
    const [slot] = free.splice(random.int(0, free.length - 1), 1);
    return { token: 0, position: start + depths[i]!, slot: slot!, parent: parent < 0 ? NONE : first + parent };
  });
}

/** A table of rows; those outside the range must not be looked at. */
function tableOf(table: number, first: number, count: number, row: (i: number) => Rows[number]): Rows {
  const nowhere = { token: NONE, position: NONE, slot: NONE, parent: NONE };
  const rows = Array.from({ length: table }, () => nowhere);
  for (let i = 0; i < count; i++) rows[first + i] = row(i);
  return rows;
}

/** The slots that a row sees, in the order of their positions: committed ones, its ancestors', its own; a window's last. */
export function visibleSlots(
  { rows, range: { linear }, pages }: Pick<AttentionInputs, "rows" | "range" | "pages">,
  row: number,
  { window = Infinity }: ScoreRule,
): number[] {
  const own: number[] = [];
  for (let at = row; at !== NONE && rows[at]!.position >= linear; at = rows[at]!.parent) own.unshift(rows[at]!.slot);
  const committed = Math.min(linear, rows[row]!.position + 1);
  const all = [...Array.from({ length: committed }, (_, position) => slotIn(pages, position)), ...own];
  return all.slice(Math.max(0, all.length - window));
}

/** Queries, keys and values: normal numbers where a row of the range may look, NaN elsewhere. */
export function randomInputs(
  random: Random,
  { shape, rule, kvType }: Pick<AttentionInputs, "shape" | "rule" | "kvType">,
  unpaged: Rows,
  range: KeyRange,
): AttentionInputs {
  const { heads, kvHeads, headDim } = shape;
  const rowNumbers = Array.from({ length: range.count }, (_, i) => range.first + i);
  const positions = Math.max(range.linear, ...unpaged.map(({ slot }) => (slot === NONE ? 0 : slot + 1)));
  const pages = randomPages(random, positions);
  const rows = unpaged.map((row) => (row.slot === NONE ? row : { ...row, slot: slotIn(pages, row.slot) }));
  const placed = { rows, range, pages };
  const seen = new Set(rowNumbers.flatMap((row) => visibleSlots(placed, row, rule)));
  const slots = [...seen].reduce((a, b) => Math.max(a, b), 0) + 1 + random.int(0, 70);
  const queries = new Float32Array(rows.length * heads * headDim).fill(NaN);
  // Scores of a size from near zero, where every key counts, to a sharp choice.
  const size = random.pick([0.1, 1, 3]);
  for (const row of rowNumbers) queries.set(random.normals(heads * headDim, size), row * heads * headDim);
  const cache = () => {
    const data = new Float32Array(slots * kvHeads * headDim).fill(NaN);
    for (const slot of seen) data.set(held(random.normals(kvHeads * headDim), kvType), slot * kvHeads * headDim);
    return data;
  };
  return { shape, rule, kvType, queries, keys: cache(), values: cache(), ...placed, lane: random.int(0, 3) };
}

/** The numbers that the format holds in the place of `data`. */
export function held(data: Float32Array<ArrayBuffer>, kvType: KvType): Float32Array<ArrayBuffer> {
  return kvType === "f32" ? data : data.map((x) => fromHalf(toHalf(x)));
}

/** A cache as it lies on the GPU; `data` holds numbers of the format. */
export function cached(data: Float32Array<ArrayBuffer>, kvType: KvType, headDim: number): Data {
  if (kvType === "f32") return data;
  const half = headDim / 2;
  const words = new Uint32Array(data.length / 2);
  for (let w = 0; w < words.length; w++) {
    const at = Math.floor(w / half) * headDim + (w % half);
    words[w] = toHalf(data[at]!) | (toHalf(data[at + half]!) << 16);
  }
  return words;
}

/** The bits of the f16 nearest to `x`, ties to even. Subnormal numbers become zero, since a device may do that. */
function toHalf(x: number): number {
  const [word = 0] = bits(Float32Array.of(x));
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude < 0x38800000) return sign;
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | Math.min(0x7c00, (rounded - 0x38000000) >>> 13);
}

function fromHalf(half: number): number {
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/**
 * The rows of a result that the kernels wrote `stride` words apart, side by side.
 *
 * Fails when something was written between them.
 */
export function withoutGaps(result: Words, width: number, stride: number): Words {
  const rows = result.length / stride;
  const packed = new Uint32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    packed.set(result.subarray(row * stride, row * stride + width), row * width);
    const gap = result.subarray(row * stride + width, (row + 1) * stride);
    expect(
      gap.every((word) => word === POISON),
      `nothing behind the heads of row ${row}`,
    ).toBe(true);
  }
  return packed;
}

/**
 * The formula, in float64: `softmax(softCap * tanh(scale * q . keys / softCap)) . values`, and the largest error of each
 * element in f32.
 *
 * - A score is a sum of headDim products: 2 U for the scale and the scaled query, headDim U for products and sum, times the
 *   sum of the terms' sizes. A soft cap bends it to less, and is itself off by at most 24 U of the cap: with e = exp(-x),
 *   7 U in e (6 U x from x, 6 + 4 x from the exponential), twice that in the quotient, 2 and 5 U for its sums and division,
 *   2 U for the factor. The score's error moves the key's weight by the same fraction.
 * - An exponential is off by 3 + 2 |x| ULP, an ULP being at most 2 U. A weight is a product of exponentials: the key's own,
 *   at most one for each later key of its run (of 0 but where a larger score turns up) and one for each later chunk; their
 *   |x| add up to at most twice the key's distance from the largest score, and the subtractions round too.
 *   Of a weight that is off by a fraction e, the mean feels e * weight * |value - mean|.
 * - The sums round twice a step besides, in the numerator as a fraction of the mean size of the values, in the denominator
 *   as one of the mean. The quotient is off by 2.5 ULP.
 *
 * @param steps exponentials and additions that a key's weight and value go through
 */
function formula(
  query: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  { scale = 1 / Math.sqrt(query.length), softCap }: ScoreRule,
  steps: number,
): { mean: Float64Array; bounds: Float64Array } {
  const headDim = query.length;
  const scores = matmul(keys, query).map((x) => (softCap ? softCap * Math.tanh((x * scale) / softCap) : x * scale));
  const sizes = matmul(keys.map(Math.abs), query.map(Math.abs)).map((size) => size * Math.abs(scale));
  const weights = softmax(scores);
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const errors = scores.map((score, k) => {
    const distance = largest - score;
    return (headDim + 2) * sizes[k]! + 24 * (softCap ?? 0) + 2 * (3 * steps + 4 * distance) + 2 * distance;
  });
  const mean = new Float64Array(headDim);
  const meanSize = new Float64Array(headDim);
  for (const [k, weight] of weights.entries()) {
    for (let i = 0; i < headDim; i++) {
      mean[i]! += weight * values[k * headDim + i]!;
      meanSize[i]! += weight * Math.abs(values[k * headDim + i]!);
    }
  }
  const bounds = new Float64Array(headDim);
  for (const [k, weight] of weights.entries()) {
    const error = weight * errors[k]!;
    for (let i = 0; i < headDim; i++) bounds[i]! += error * Math.abs(values[k * headDim + i]! - mean[i]!);
  }
  for (let i = 0; i < headDim; i++) {
    const average = Math.abs(mean[i]!);
    bounds[i] = U * (bounds[i]! + 2 * steps * (meanSize[i]! + average) + 5 * average);
  }
  return { mean, bounds };
}

/**
 * Fails unless the rows of the range hold the formula's result over what they see, and others what they held before.
 * @param run longest run of keys between two merges
 */
export function expectAttended(actual: Words, inputs: AttentionInputs, what: string, run = KEYS_PER_CHUNK): void {
  const { shape, rule, queries, keys, values, rows, range } = inputs;
  const { heads, kvHeads, headDim } = shape;
  expectUntouchedOutside(actual, heads * headDim, range, what);
  const got = floats(actual);
  for (let row = range.first; row < range.first + range.count; row++) {
    const slots = visibleSlots(inputs, row, rule);
    const gather = (cache: Float32Array, kvHead: number) => {
      const out = new Float32Array(slots.length * headDim);
      for (const [i, slot] of slots.entries()) {
        const at = (slot * kvHeads + kvHead) * headDim;
        out.set(cache.subarray(at, at + headDim), i * headDim);
      }
      return out;
    };
    const steps = Math.min(slots.length, run) + chunkCount(slots.length) + 1;
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const [k, v] = [gather(keys, kvHead), gather(values, kvHead)];
      const group = heads / kvHeads;
      for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
        const at = (row * heads + head) * headDim;
        const { mean, bounds } = formula(queries.subarray(at, at + headDim), k, v, rule, steps);
        const label = `${what}, row ${row} (position ${rows[row]!.position}), head ${head}`;
        expectWithin(got.subarray(at, at + headDim), mean, (i) => bounds[i]!, label);
      }
    }
  }
}

/** Shapes, caches and variants of a slow run: all of them. */
export function everyKernel<V>(variants: readonly V[]) {
  return SLOW ? fullMatrix({ headDim: HEAD_DIMS, heads: HEADS, kvType: KV_TYPES, variant: variants }) : [];
}

/** The same of a quick run, with the rules and `others`: every two choices stand together in some test. */
export function pairsOfKernels<V, const C extends Readonly<Record<string, readonly unknown[]>>>(
  variants: readonly V[],
  others: C,
) {
  const columns = { headDim: HEAD_DIMS, heads: HEADS, kvType: KV_TYPES, variant: variants, rule: RULES, ...others };
  return SLOW ? [] : pairwiseOf(columns);
}
