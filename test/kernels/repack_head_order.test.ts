/** Rows of heads land in the engine's order of a head, however a tensor is cut into chunks. */

import { expect, test } from "vitest";
import { randomBlocks } from "../../src/kernels/gguf_blocks.ts";
import { REPACK_SHAPE_BYTES, Repack, repackShape } from "../../src/kernels/repack.ts";
import { isFloat, rowBytes, type SourceType } from "../../src/kernels/source_type.ts";
import { unpackMatrix } from "../../src/kernels/weight_codec.ts";
import { scaleBytes, type WeightFormat, weightBytes } from "../../src/kernels/weight_format.ts";
import { headPlace } from "../../src/model/head_order.ts";
import type { HeadOrder } from "../../src/model/spec.ts";
import { seeded } from "../reference/random.ts";
import { openBench, poisoned } from "./harness.ts";

const bench = openBench();

const K = 64;
const Q8: WeightFormat = { type: "q8", codes: "symmetric", block: 32, scale: "f16" };
/** One of each kind of kernel: floats laid, floats quantised, blocks moved, blocks as floats. */
const KINDS: [SourceType, WeightFormat][] = [
  ["F32", { type: "f32" }],
  ["BF16", Q8],
  ["Q8_0", Q8],
  ["Q4_1", { type: "f16" }],
];
const ORDERS: HeadOrder[] = [
  { headDim: 16, rotaryDim: 16, interleaved: true },
  { headDim: 24, rotaryDim: 8, interleaved: true },
  { headDim: 24, rotaryDim: 20, interleaved: false },
];

/** Everything a column holds, column by column. */
function columnsOf(format: WeightFormat, weight: Uint32Array, scales: Uint32Array, columns: number): string[] {
  const contents = unpackMatrix(format, weight, scales, K, columns);
  return Array.from({ length: columns }, (_, column) =>
    [contents.elements, contents.scales]
      .map((all) => all.subarray((column * all.length) / columns, ((column + 1) * all.length) / columns).join())
      .join("|"),
  );
}

test.each(KINDS)("%s to %j", (type, format) =>
  seeded(async (random) => {
    const kernel = new Repack(bench.device, type, format);
    await kernel.prepare();
    for (const order of ORDERS) {
      const rows = random.int(1, 5) * order.headDim;
      const firstColumn = random.int(0, 30);
      const columns = firstColumn + rows + random.int(0, 30);
      // Bytes below 64 are no infinities or NaN in any float.
      const bytes = !isFloat(type)
        ? randomBlocks(type, (rows * K) / 32, () => random.uniform(), [10, 20])
        : Uint8Array.from({ length: rows * rowBytes(type, K) }, () => random.int(0, 63));

      const laid = async (headOrder: HeadOrder | undefined, chunkRows: () => number): Promise<string[]> => {
        const weight = bench.upload("weight", poisoned(weightBytes(format, K, columns) / 4));
        const scales = bench.upload("scales", poisoned(scaleBytes(format, K, columns) / 4));
        for (let row = 0; row < rows; ) {
          const count = Math.min(chunkRows(), rows - row);
          const chunk = bytes.slice(row * rowBytes(type, K), (row + count) * rowBytes(type, K));
          const shape = repackShape(count, K, firstColumn, columns, row, headOrder);
          expect(shape.byteLength).toBe(REPACK_SHAPE_BYTES);
          const group = kernel.bind({
            ...{ weight, scales, shape: bench.uniform("shape", shape) },
            source: bench.upload("source", new Uint32Array(chunk.buffer)),
          });
          await bench.run((recorder) => kernel.dispatch(recorder, group, count, K));
          row += count;
        }
        const [words, scaleWords] = await bench.run(() => {}, weight, scales);
        bench.release();
        return columnsOf(format, words, scaleWords, columns);
      };

      const plain = await laid(undefined, () => rows);
      const own = plain.slice(firstColumn, firstColumn + rows);
      expect(new Set(own).size, "rows differ").toBe(rows);
      const expected = [...plain];
      for (const [row, column] of own.entries()) {
        const within = row % order.headDim;
        expected[firstColumn + row - within + headPlace(order, within)] = column;
      }
      expect(await laid(order, () => rows), JSON.stringify(order)).toEqual(expected);
      expect(await laid(order, () => random.int(1, 20)), `${JSON.stringify(order)}, in chunks`).toEqual(expected);
      expect(await laid(undefined, () => random.int(1, 20)), "no order, in chunks").toEqual(plain);
    }
  })(),
);
