/**
 * Quantising on a device that reads subnormal halves as zero, which WGSL admits. No device at hand does; the shader's one
 * line that unpacks them is made to.
 */

import { expect, test, vi } from "vitest";
import { Repack, repackShape } from "../../src/kernels/repack.ts";
import { unpackMatrix } from "../../src/kernels/weight_codec.ts";
import { type BlockFormat, formatName, scaleBytes, weightBytes } from "../../src/kernels/weight_format.ts";
import { bits, openBench } from "./harness.ts";

vi.mock("../../shaders/weights/quantise/stored_f16.wgsl?raw", async (original) => {
  const { default: code } = await original<{ default: string }>();
  const flushing = code.replace(
    "return unpack2x16float(bits).x;",
    "return select(unpack2x16float(bits).x, 0.0, (bits & 0x7c00) == 0);",
  );
  if (flushing === code) throw new Error("the line that unpacks is another by now");
  return { default: flushing };
});

const bench = openBench();
const SMALLEST_NORMAL = 2 ** -14;

const FORMATS = (["q8", "q4"] as const).flatMap((type) =>
  (["symmetric", "minimum"] as const).map((codes): BlockFormat => ({ type, codes, block: 32, scale: "f16" })),
);

test.each(FORMATS.map((format) => [formatName(format), format] as const))(
  "%s: numbers whose scale would be subnormal are off by half a step of the smallest normal scale at most",
  async (_, format) => {
    const K = 64;
    for (const size of [1e-2, 1e-3, 1e-4, 5e-5, 1e-6]) {
      const source = Float32Array.from({ length: K }, (_, k) => size * Math.cos(k));
      const kernel = new Repack(bench.device, "F32", format);
      await kernel.prepare();
      const buffers = {
        shape: bench.uniform("shape", repackShape(1, K, 0, 1)),
        source: bench.upload("source", bits(source)),
        weight: bench.output("weight", weightBytes(format, K, 1) / 4),
        scales: bench.output("scales", scaleBytes(format, K, 1) / 4),
      };
      const group = kernel.bind(buffers);
      const [weight, scales] = await bench.run((r) => kernel.dispatch(r, group, 1, K), buffers.weight, buffers.scales);
      const contents = unpackMatrix(format, weight, scales, K, 1);
      const flushed = (stored: number) => (Math.abs(stored) < SMALLEST_NORMAL ? 0 : stored);
      for (const [k, x] of source.entries()) {
        const block = Math.floor(k / 32);
        const scale = flushed(contents.scales[block]!);
        const value = scale * contents.elements[k]! + flushed(contents.minima[block]!);
        // Codes -8 .. 7 reach seven steps to one side only; there the last one may be a whole step away.
        const reach = format.type === "q4" && format.codes === "symmetric" ? 1 : 0.5;
        const step = Math.max(Math.abs(scale), SMALLEST_NORMAL);
        expect(Math.abs(value - x), `${x} in blocks of up to ${size}`).toBeLessThanOrEqual(reach * step * 1.001);
      }
    }
  },
);
