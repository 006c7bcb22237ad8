/** Sums of hidden-state pairs, on the GPU, against plain arithmetic. */

import { expect, test } from "vitest";
import { PairSumsCollector } from "../../src/calibration/pair_sums.ts";
import { Gram, gramShape } from "../../src/kernels/gram.ts";
import { openEngine } from "../engine.ts";
import { openBench, rowSet, U } from "../kernels/harness.ts";
import { STORIES } from "../memory_folder.ts";
import { ReferenceModel } from "../reference/model.ts";
import { seeded } from "../reference/random.ts";

const bench = openBench();

test.each([
  [4, 4, 1],
  [8, 260, 7],
  [68, 64, 256],
  [260, 264, 33],
])("%i x %i over %i rows: added to what is there; nothing is read of rows beside them", (left, right, count) =>
  seeded(async (random) => {
    const first = 2;
    const rows = first + count + 1;
    const strides = { leftStride: left + 4, rightStride: right };
    const lefts = random.normals(rows * strides.leftStride);
    const rights = random.normals(rows * strides.rightStride);
    const before = random.normals(left * right);
    for (const data of [lefts, rights]) {
      const stride = data === lefts ? strides.leftStride : strides.rightStride;
      data.fill(NaN, 0, first * stride);
      data.fill(NaN, (first + count) * stride);
    }
    const kernel = new Gram(bench.device);
    await kernel.prepare();
    const sums = bench.upload("sums", before);
    const size = { left, right, ...strides };
    const group = kernel.bind({
      range: bench.ranges({ first: 0, count: 0 }, { first, count }),
      shape: bench.uniform("shape", gramShape(size)),
      left: bench.upload("left", lefts),
      right: bench.upload("right", rights),
      sums,
    });
    const [words] = await bench.run((recorder) => kernel.dispatch(recorder, group, rowSet(1, count), size), sums);
    bench.release();
    const actual = new Float32Array(words!.buffer);
    for (let i = 0; i < left; i++) {
      for (let j = 0; j < right; j++) {
        let sum = before[i * right + j]!;
        let size = Math.abs(sum);
        for (let r = first; r < first + count; r++) {
          const product = lefts[r * strides.leftStride + i]! * rights[r * strides.rightStride + j]!;
          sum += product;
          size += Math.abs(product);
        }
        expect(Math.abs(actual[i * right + j]! - sum)).toBeLessThanOrEqual((count + 2) * U * size);
      }
    }
  })(),
);

test("of a text: hidden states after an exit and after the last layer, each divided by its root mean square", async () => {
  const { device, forward, table, spec } = await openEngine(STORIES, 512);
  await seeded(async (random) => {
    const exitLayers = [1, 3];
    const texts = [random.ints(90, 3, spec.vocabSize - 1), random.ints(40, 3, spec.vocabSize - 1)];
    const collector = await PairSumsCollector.create(device, forward, table, exitLayers);
    for (const ids of texts) await collector.add(ids, async () => {});
    const all = await collector.read();
    collector.dispose();
    const reference = ReferenceModel.load(STORIES);
    const normed = (rows: readonly Float64Array[]) =>
      rows.map((row) => {
        const scale = 1 / Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / row.length + spec.rmsNormEps);
        return row.map((x) => x * scale);
      });
    const ys = texts.flatMap((ids) => normed(reference.hiddenStates(ids)));
    expect(all.map(({ exitLayer }) => exitLayer)).toEqual(exitLayers);
    for (const { exitLayer, sums } of all) {
      const { size, products, targets } = sums;
      const xs = texts.flatMap((ids) => normed(reference.hiddenStates(ids, exitLayer))).map((x) => [...x, 1, 0, 0, 0]);
      let worst = 0;
      for (let i = 0; i < size + 4; i++) {
        for (let j = 0; j < size + 4; j++) {
          const sum = xs.reduce((total, x) => total + x[i]! * x[j]!, 0);
          worst = Math.max(worst, Math.abs(products[i * (size + 4) + j]! - sum));
        }
        for (let j = 0; j < size; j++) {
          const sum = xs.reduce((total, x, r) => total + x[i]! * ys[r]![j]!, 0);
          worst = Math.max(worst, Math.abs(targets[i * size + j]! - sum));
        }
      }
      // Of sums over 130 rows of numbers near 1: hidden states are good to some 1e-5.
      expect(worst).toBeLessThan(5e-3);
    }
    expect(device.ledger.report().byOwner.calibration).toBeUndefined();
  })();
  device.dispose();
});
