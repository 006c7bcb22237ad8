/** The self-checks of the final norm and of the norm of a block's output: some rows of wider ones, against the formula. */

import type { Device } from "../gpu/device.ts";
import { AddNormed, addNormedShape } from "./add_normed.ts";
import { streamStride } from "./matmul_form.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { RmsNorm, rmsNormShape } from "./rms_norm.ts";
import { encodeRanges } from "./rows.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";
import { paddedSize } from "./weight_format.ts";

/** More vec4 than a workgroup has threads. */
const SIZE = 268;
const EPSILON = 1e-5;
/** Sizes of the rows' numbers: of the second, epsilon is a good part. */
const MAGNITUDES = [1, 1, 2 ** -8, 2 ** 6, 1];
const RANGE = { first: 1, count: 3 };
/** What the result holds before. */
const BEFORE = 77;
/** Half the sum's roundings, 2^-23 each, and some more for the root and what follows, as a fraction of a result. */
const BOUND = (SIZE / 2 + 16) * 2 ** -23;

/** @throws GpuError when the final norm cannot be compiled or computes wrong on this device */
export async function checkRmsNorm(device: Device): Promise<void> {
  const kernel = new RmsNorm(device);
  await kernel.prepare();
  const numbers = vectors();
  const weight = numbers(2);
  const [from, to] = [streamStride(SIZE), paddedSize(SIZE)];
  const hidden = rowsOf(numbers, from);
  const before = new Float32Array(MAGNITUDES.length * to).fill(BEFORE);
  const [words] = await runTrial(device, "norm check", ({ recorder, storage, uniform }) => {
    const normed = storage("normed", before);
    const group = kernel.bind({
      range: uniform("range", encodeRanges([RANGE])),
      shape: uniform("shape", rmsNormShape(SIZE, EPSILON, from, to)),
      hidden: storage("hidden", hidden),
      weight: storage("weight", weight),
      normed,
    });
    kernel.dispatch(recorder, group, { range: 0, count: RANGE.count + 1, end: 0 });
    return [normed];
  });

  const expected = Float64Array.from(before);
  const tolerance = new Float64Array(before.length);
  for (let row = RANGE.first; row < RANGE.first + RANGE.count; row++) {
    for (const [k, value] of normOf(hidden.subarray(row * from, row * from + SIZE), weight).entries()) {
      expected[row * to + k] = value;
      tolerance[row * to + k] = BOUND * Math.abs(value);
    }
  }
  const nameOf = (i: number) => `normed, row ${Math.floor(i / to)}, number ${i}`;
  requireRight(kernel.name, firstDifference(new Float32Array(words!.buffer), expected, nameOf, tolerance));
}

/** @throws GpuError when the norm of a block's output cannot be compiled or computes wrong on this device */
export async function checkAddNormed(device: Device): Promise<void> {
  const kernel = new AddNormed(device);
  await kernel.prepare();
  const numbers = vectors();
  const [weight, nextWeight] = [numbers(2), numbers(2)];
  const [from, to] = [paddedSize(SIZE), streamStride(SIZE)];
  const product = rowsOf(numbers, from);
  const before = new Float32Array(MAGNITUDES.length * to).fill(BEFORE);
  for (const row of MAGNITUDES.keys()) before.set(numbers(1), row * to);
  const [words] = await runTrial(device, "norm check", ({ recorder, storage, uniform }) => {
    const stream = storage("stream", before);
    const group = kernel.bind({
      range: uniform("range", encodeRanges([RANGE])),
      shape: uniform("shape", addNormedShape(SIZE, EPSILON)),
      product: storage("product", product),
      weight: storage("weight", weight),
      nextWeight: storage("next weight", nextWeight),
      stream,
    });
    kernel.dispatch(recorder, group, { range: 0, count: RANGE.count + 1, end: 0 });
    return [stream];
  });

  const expected = Float64Array.from(before);
  const tolerance = new Float64Array(before.length);
  for (let row = RANGE.first; row < RANGE.first + RANGE.count; row++) {
    for (const [k, value] of normOf(product.subarray(row * from, row * from + SIZE), weight).entries()) {
      const at = row * to + k;
      const bound = BOUND * (Math.abs(before[at]!) + Math.abs(value));
      const gained = at + paddedSize(SIZE);
      expected[at] = before[at]! + value;
      expected[gained] = expected[at]! * nextWeight[k]!;
      tolerance[at] = bound;
      tolerance[gained] = bound * Math.abs(nextWeight[k]!);
    }
  }
  const nameOf = (i: number) => `stream, row ${Math.floor(i / to)}, number ${i}`;
  requireRight(kernel.name, firstDifference(new Float32Array(words!.buffer), expected, nameOf, tolerance));
}

/** Makes vectors of numbers below a size, the same everywhere. */
function vectors(): (size: number) => Float32Array<ArrayBuffer> {
  const random = checkNumbers();
  return (size) => Float32Array.from({ length: SIZE }, () => size * (2 * random() - 1));
}

/** Rows to be normed. What stands beside them must not be looked at. */
function rowsOf(numbers: (size: number) => Float32Array, stride: number): Float32Array<ArrayBuffer> {
  const rows = new Float32Array(MAGNITUDES.length * stride).fill(NaN);
  for (const [row, size] of MAGNITUDES.entries()) rows.set(numbers(size), row * stride);
  return rows;
}

function normOf(row: Float32Array, weight: Float32Array): Float64Array {
  const x = Float64Array.from(row);
  const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + EPSILON);
  return x.map((value, k) => value * scale * weight[k]!);
}
