/** The LM head as a few-row matmul: candidates for the argmax, ties, logits that are none, heads of several matrices. */

import { describe, expect, test } from "vitest";
import { NONE } from "../../src/kernels/constants.ts";
import { fewRowGroupOf, fewRowGroups } from "../../src/kernels/few_row_variant.ts";
import type { MatmulKind } from "../../src/kernels/matmul_form.ts";
import { type ProbeData, runProbe } from "../../src/kernels/matmul_probe.ts";
import { formatName } from "../../src/kernels/weight_format.ts";
import { floats, openBench, poisoned, rowSet } from "./harness.ts";
import {
  columnsOf,
  expectProducts,
  formatOf,
  KINDS,
  multiply,
  ofBucket,
  ofVariant,
  productOf,
  randomPass,
  randomProduct,
  VARIANTS,
} from "./matmul_inputs.ts";

const bench = openBench();

describe.each(KINDS)("few-row matmul, headArgmax, %s", (name) => {
  const variant = VARIANTS[name];
  const N = 257;

  /** Candidates of each row and workgroup. */
  async function candidatesOf(data: ProbeData & { kind: MatmulKind<"headArgmax"> }) {
    const matmul = await ofBucket(bench, data.kind, variant, 2);
    const [outputs] = await multiply(bench.device, matmul, data, [{ first: 0, count: data.rows }]);
    const groups = fewRowGroups("headArgmax", N, variant);
    return Array.from({ length: data.rows }, (_, row) =>
      Array.from({ length: groups }, (_, group) => {
        const at = (row * N + group) * 2;
        return { logit: floats(outputs!.candidates!)[at], id: outputs!.candidates![at + 1] };
      }),
    );
  }

  /** Ids of a workgroup, ascending. */
  const idsOf = (group: number) =>
    Array.from({ length: N }, (_, id) => id).filter((id) => fewRowGroupOf("headArgmax", id, N, variant) === group);

  const oneHot = (rows: number) =>
    Array.from({ length: rows }, (_, r) => Array.from({ length: rows }, (_, k) => +(k === r)));

  test(
    "a tie goes to the lowest of a workgroup's ids, and no id beyond the vocabulary comes in between",
    ofVariant(bench, name, async (random) => {
      // One input component a row, so the row's logits are that column of the weights, exactly.
      const rows = 12;
      const levels = [0, 1, 2, 100];
      const matrix = Array.from({ length: N }, () =>
        Array.from({ length: rows }, (_, r) => random.int(-levels[r % 4]!, levels[r % 4]!) - (r >= 8 ? 1000 : 0)),
      );
      const candidates = await candidatesOf(productOf("headArgmax", matrix, oneHot(rows)));
      for (const [row, groups] of candidates.entries()) {
        const expected = groups.map((_, group) => {
          const ids = idsOf(group);
          const logit = Math.max(...ids.map((id) => matrix[id]![row]!));
          return { logit, id: ids.find((id) => matrix[id]![row] === logit) };
        });
        expect(groups, `row ${row}`).toEqual(expected);
      }
    }),
  );

  test(
    "one logit that is no finite number makes none its workgroup's candidate, and no other's",
    ofVariant(bench, name, async (random) => {
      // Infinities and NaN must not stand in the weights: they would reach the other rows. 2 * 3e38 overflows.
      const spoiling = { Infinity: [3e38, 0], "-Infinity": [-3e38, 0], NaN: [3e38, -3e38] };
      const kinds = Object.values(spoiling);
      const rows = 6;
      const spoilt = Array.from({ length: rows }, () => random.int(0, N - 1));
      const matrix = Array.from({ length: N }, (_, id) =>
        spoilt.flatMap((at, r) => (at === id ? kinds[r % 3]! : [random.int(-9, 9), 0])),
      );
      const inputs = Array.from({ length: rows }, (_, r) =>
        Array.from({ length: 2 * rows }, (_, k) => (k >> 1 === r ? 2 : 0)),
      );
      const candidates = await candidatesOf(productOf("headArgmax", matrix, inputs));
      for (const [row, groups] of candidates.entries()) {
        for (const [group, { id }] of groups.entries()) {
          const ids = idsOf(group);
          const best = ids.reduce((a, b) => (matrix[b]![2 * row]! > matrix[a]![2 * row]! ? b : a));
          expect(id, `row ${row}, workgroup ${group}`).toBe(ids.includes(spoilt[row]!) ? NONE : best);
        }
      }
    }),
  );
});

const PART_FORMATS = [
  formatOf("f32"),
  formatOf("f16"),
  formatOf("q8 symmetric", "16 f16"),
  formatOf("q4 minimum", "32 f32"),
] as const;

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);

describe.each(KINDS)("few-row matmul, a head of several matrices, %s", (name) => {
  const variant = VARIANTS[name];

  test.for(["store", "headArgmax"] as const)("%s: they write side by side", (form, context) =>
    ofVariant(bench, name, async (random) => {
      const kind = { form, format: name === "thread" ? random.pick(PART_FORMATS) : PART_FORMATS[0] };
      const matmul = await ofBucket(bench, kind, variant, 2);
      const data = randomProduct(random, kind, { inputSize: 72, outputs: 257 });
      const cuts = [0, random.int(1, 100), random.int(101, 256), 257];
      const runs = cuts.slice(1).map((end, i) => ({ first: cuts[i]!, count: end - cuts[i]! }));
      const groups = runs.map(({ count }) => fewRowGroups(form, count, variant));
      // Where in a result's row each part begins, and where there is nothing any more.
      const begins = form === "store" ? cuts : [0, ...groups].map((_, i) => sum(groups.slice(0, i)));
      const firstId = random.int(0, 5000);
      data.size = { ...data.size, firstId, resultStride: begins.at(-1)! + random.int(0, 5) };
      const [output] = Object.keys(data.before);
      data.before = { [output!]: poisoned(data.rows * data.size.resultStride! * (form === "store" ? 1 : 2)) };

      const pass = randomPass(random, 1, 5);
      const [outputs] = await runProbe(bench.device, data, matmul.shape(data.size), [
        {
          ranges: [{ ...pass }],
          record: (recorder, buffers, range) => {
            for (const [i, run] of runs.entries()) {
              const { weight, scales } = columnsOf(data, [run]);
              const size = { outputs: run.count, firstId: firstId + run.first, resultOffset: begins[i]! };
              const own = {
                shape: bench.uniform("shape", matmul.shape({ ...data.size, ...size })),
                weight: bench.upload("weight", weight),
                scales: bench.upload("scales", scales),
              };
              matmul.record(recorder, matmul.bind({ ...buffers, ...own }, run.count), rowSet(range, pass.bound));
            }
          },
        },
      ]);
      const groupOf = (n: number) => {
        const i = runs.findIndex(({ first, count }) => n < first + count);
        return begins[i]! + fewRowGroupOf(form, n - runs[i]!.first, runs[i]!.count, variant);
      };
      expectProducts(data, pass, outputs!, groupOf, `${formatName(kind.format)}, cut at ${cuts}`);
    })(context),
  );
});
