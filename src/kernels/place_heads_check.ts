/** The self-check of the kernel that norms, rotates and places queries and keys, for heads of the model's shape. */

import type { Device } from "../gpu/device.ts";
import type { HeadShape } from "./attention_shape.ts";
import { NONE } from "./constants.ts";
import { cacheNumbers, type KvType } from "./kv_format.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { PlaceHeads, placeHeadsShape } from "./place_heads.ts";
import { encodeRanges, encodeRows } from "./rows.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";
import { halfBits, singleBits } from "./weight_codec.ts";

const EPSILON = 1e-5;
/** Positions that are not the slots, and sizes of the rows' numbers: of the third, epsilon is a good part. */
const ROWS = [
  { position: 0, slot: 3, size: 1 },
  { position: 2, slot: 0, size: 1 },
  { position: 1, slot: 4, size: 2 ** -8 },
  { position: 4, slot: 1, size: 2 ** 6 },
  { position: 3, slot: 2, size: 1 },
];
const RANGE = { first: 1, count: 3 };
/** What the results hold before. */
const BEFORE = 77;
/** f16's rounding to either neighbour, and what may be taken for zero. */
const HALF_ROUNDING = 2 ** -10;
const HALF_SMALLEST = 2 ** -14;

/**
 * @param norm each head is normed by itself, or all heads of a row together
 * @throws GpuError when the kernel cannot be compiled or computes wrong on this device
 */
export async function checkPlaceHeads(
  device: Device,
  { heads, kvHeads, headDim }: HeadShape,
  kv: KvType,
  norm: "head" | "row",
): Promise<void> {
  const kernel = new PlaceHeads(device, kv);
  await kernel.prepare();
  const random = checkNumbers();
  const numbers = (count: number, size: number) =>
    Float32Array.from({ length: count }, () => size * (2 * random() - 1));
  const stride = (heads + 2 * kvHeads) * headDim;
  const projected = new Float32Array(ROWS.length * stride);
  for (const [row, { size }] of ROWS.entries()) projected.set(numbers(stride, size), row * stride);
  const rotations = numbers(ROWS.length * headDim, 1);
  const weightOf = (count: number) => numbers((norm === "row" ? count : 1) * headDim, 2);
  const [queryNorm, keyNorm] = [weightOf(heads), weightOf(kvHeads)];
  const kinds = [
    { name: "queries", first: 0, count: heads, weight: queryNorm, type: "f32" },
    { name: "keys", first: heads, count: kvHeads, weight: keyNorm, type: kv },
    { name: "values", first: heads + kvHeads, count: kvHeads, weight: undefined, type: kv },
  ] as const;

  const results = await runTrial(device, "head norm check", ({ recorder, storage, uniform }) => {
    const [queries, keys, values] = kinds.map(({ name, count, type }) => {
      const words = (ROWS.length * count * headDim) / (type === "f32" ? 1 : 2);
      const word = type === "f32" ? singleBits(BEFORE) : halfBits(BEFORE) * 0x10001;
      return storage(name, new Uint32Array(words).fill(word));
    });
    const group = kernel.bind({
      range: uniform("range", encodeRanges([RANGE])),
      shape: uniform("shape", placeHeadsShape({ heads, kvHeads, headDim }, norm, EPSILON)),
      rows: storage("rows", encodeRows(ROWS.map((row) => ({ ...row, token: 0, parent: NONE })))),
      projected: storage("projected", projected),
      queryNorm: storage("query norm", queryNorm),
      keyNorm: storage("key norm", keyNorm),
      rotations: storage("rotations", rotations),
      ...{ queries: queries!, keys: keys!, values: values! },
    });
    // One row more than there are: the range counts.
    kernel.dispatch(recorder, group, { range: 0, count: RANGE.count + 1, end: 0 }, { heads, kvHeads, headDim });
    return [queries!, keys!, values!];
  });

  for (const [i, { name, first, count, weight, type }] of kinds.entries()) {
    const expected = new Float64Array(ROWS.length * count * headDim).fill(BEFORE);
    const tolerance = new Float64Array(expected.length);
    // Half the roundings of the sum, 2^-23 each, and some more for the root and what follows.
    const bound = (((norm === "row" ? count : 1) * headDim) / 2 + 16) * 2 ** -23;
    for (let row = RANGE.first; row < RANGE.first + RANGE.count; row++) {
      const { position, slot } = ROWS[row]!;
      const own = projected.subarray(row * stride + first * headDim, row * stride + (first + count) * headDim);
      const turns = rotations.subarray(position * headDim, (position + 1) * headDim);
      const placed = weight
        ? rotate(normed(own, weight, norm === "row" ? own.length : headDim), turns)
        : Array.from(own, (value) => ({ value, size: 0 }));
      for (const [k, { value, size }] of placed.entries()) {
        const at = (name === "queries" ? row : slot) * count * headDim + k;
        expected[at] = value;
        tolerance[at] = bound * size + (type === "f16" ? HALF_ROUNDING * Math.abs(value) + HALF_SMALLEST : 0);
      }
    }
    const got = cacheNumbers(type, headDim, results[i]!);
    requireRight(
      kernel.name,
      firstDifference(got, expected, (k) => `${name}, number ${k}`, tolerance),
    );
  }
}

/** Heads normed, so many elements together. */
function normed(heads: Float32Array, weight: Float32Array, together: number): Float64Array {
  return Float64Array.from(heads, (value, k) => {
    const begin = k - (k % together);
    const squares = heads.subarray(begin, begin + together).reduce((sum, x) => sum + x * x, 0);
    return (value / Math.sqrt(squares / together + EPSILON)) * weight[k % weight.length]!;
  });
}

/** Heads rotated: each element, and the size of the two terms it is the sum of. */
function rotate(heads: Float64Array, turns: Float32Array): { value: number; size: number }[] {
  const half = turns.length / 2;
  return Array.from(heads, (value, k) => {
    const pair = k % half;
    const isFirst = k % turns.length < half;
    const partner = heads[isFirst ? k + half : k - half]!;
    const [cos, sin] = [turns[2 * pair]!, turns[2 * pair + 1]!];
    const [own, other] = [value * cos, (isFirst ? -partner : partner) * sin];
    return { value: own + other, size: Math.abs(own) + Math.abs(other) };
  });
}
