/** The self-check of the final norm: some rows out of a wider stream, against the formula. */

import type { Device } from "../gpu/device.ts";
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
const RANGE = { first: 1, count: 3, linear: 0 };
/** What the result holds before. */
const BEFORE = 77;
/** Half the sum's roundings, 2^-23 each, and some more for the root and the products, as a fraction of a result. */
const BOUND = (SIZE / 2 + 16) * 2 ** -23;

/** @throws GpuError when the norm cannot be compiled or computes wrong on this device */
export async function checkRmsNorm(device: Device): Promise<void> {
  const kernel = new RmsNorm(device);
  await kernel.prepare();
  const random = checkNumbers();
  const numbers = (size: number) => Float32Array.from({ length: SIZE }, () => size * (2 * random() - 1));
  const weight = numbers(2);
  const [from, to] = [streamStride(SIZE), paddedSize(SIZE)];
  // What stands beside the rows must not be looked at.
  const hidden = new Float32Array(MAGNITUDES.length * from).fill(NaN);
  for (const [row, size] of MAGNITUDES.entries()) hidden.set(numbers(size), row * from);
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
    const x = Float64Array.from(hidden.subarray(row * from, row * from + SIZE));
    const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / SIZE + EPSILON);
    for (const [k, value] of x.entries()) {
      expected[row * to + k] = value * scale * weight[k]!;
      tolerance[row * to + k] = BOUND * Math.abs(expected[row * to + k]!);
    }
  }
  const nameOf = (i: number) => `normed, row ${Math.floor(i / to)}, number ${i}`;
  requireRight(kernel.name, firstDifference(new Float32Array(words!.buffer), expected, nameOf, tolerance));
}
