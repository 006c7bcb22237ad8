/** The self-check of gating stored products: some rows, against the formula. */

import type { Device } from "../gpu/device.ts";
import type { Activation } from "../model/spec.ts";
import { Gate, gateShape } from "./gate.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { ACTIVATIONS } from "./plain_matmul.ts";
import { encodeRanges } from "./rows.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";
import { paddedSize } from "./weight_format.ts";

/** More vec4 than a workgroup has threads, and no whole number of a matmul's steps. */
const SIZE = 268;
const ROWS = 5;
const RANGE = { first: 1, count: 3 };
/** What the result holds before. */
const BEFORE = 77;
/** WGSL's exp is good to (3 + 2 |x|) units of 2^-23, and |x| stays below 5; some roundings more, as a fraction of a result. */
const BOUND = 32 * 2 ** -23;

/** @throws GpuError when the kernel cannot be compiled or computes wrong on this device */
export async function checkGate(device: Device, activation: Activation): Promise<void> {
  const kernel = new Gate(device, activation);
  await kernel.prepare();
  const random = checkNumbers();
  const products = Float32Array.from({ length: ROWS * 2 * SIZE }, () => 8 * random() - 4);
  const stride = paddedSize(SIZE);
  const before = new Float32Array(ROWS * stride).fill(BEFORE);
  const [words] = await runTrial(device, "gate check", ({ recorder, storage, uniform }) => {
    const output = storage("output", before);
    const group = kernel.bind({
      range: uniform("range", encodeRanges([RANGE])),
      shape: uniform("shape", gateShape(SIZE)),
      products: storage("products", products),
      output,
    });
    kernel.dispatch(recorder, group, { range: 0, count: RANGE.count + 1, end: 0 }, SIZE);
    return [output];
  });

  const expected = Float64Array.from(before);
  const tolerance = new Float64Array(before.length);
  for (let row = RANGE.first; row < RANGE.first + RANGE.count; row++) {
    for (let n = 0; n < SIZE; n++) {
      const at = row * stride + n;
      expected[at] = ACTIVATIONS[activation](products[row * 2 * SIZE + n]!) * products[(row * 2 + 1) * SIZE + n]!;
      tolerance[at] = BOUND * Math.abs(expected[at]!);
    }
  }
  const nameOf = (i: number) => `output, row ${Math.floor(i / stride)}, number ${i}`;
  requireRight(kernel.name, firstDifference(new Float32Array(words!.buffer), expected, nameOf, tolerance));
}
