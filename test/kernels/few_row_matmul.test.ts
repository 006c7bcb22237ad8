import { beforeAll, describe, expect, test } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { ROW_CAPACITY } from "../../src/kernels/constants.ts";
import { BUCKETS, bucketFor, FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import type { MatmulForm } from "../../src/kernels/matmul_form.ts";
import { Random, seeded } from "../reference/random.ts";
import { expectUntouchedOutside, expectWithin, floats, interleaved, openBench, type Range, rowSet } from "./harness.ts";
import {
  expectProducts,
  FORMS,
  type MatmulCase,
  outputWidth,
  randomCase,
  uploadCase,
  uploadOutput,
} from "./matmul_case.ts";

const bench = openBench();
const matmuls = new Map<MatmulForm, FewRowMatmul>();

const INPUT_SIZES = [4, 64, 172, 200, 576];
const OUTPUT_SIZES = [1, 3, 70, 513];

beforeAll(async () => {
  for (const form of FORMS) {
    const matmul = new FewRowMatmul(bench.device, form);
    for (const count of BUCKETS) await matmul.prepare(count);
    matmuls.set(form, matmul);
  }
});

/** Records one product of `range`'s rows where the host knows of `bound` rows at most. */
async function multiply(case_: MatmulCase, range: Range, bound = range.count) {
  const matmul = matmuls.get(case_.form)!;
  const output = uploadOutput(bench, case_, range);
  const bound_ = matmul.bind({ ...uploadCase(bench, case_, [{ first: 0, count: 0 }, range]), output }, case_.N);
  const [actual] = await bench.run((r) => matmul.record(r, bound_, rowSet(1, bound)), output);
  bench.release();
  return actual;
}

/** A range of the table's rows, and a host's bound that is at least its number of rows. */
function randomRange(random: Random, low: number, high: number): { range: Range; bound: number } {
  const bound = random.int(low, high);
  const count = random.int(1, bound);
  return { range: { first: random.int(0, ROW_CAPACITY - count), count }, bound };
}

describe.each(FORMS)("few-row matmul, %s", (form) => {
  test("every bucket is in use here", () => {
    expect(matmuls.get(form)!.buckets).toEqual([...BUCKETS]);
  });

  test.each(INPUT_SIZES)("equals the formula in every bucket, and other rows stay untouched, K = %i", (K) =>
    seeded(async (random) => {
      for (const N of OUTPUT_SIZES) {
        // The buckets by the rows that take them: 1; 2; 3, 4; 5 to 8; 9 to 16; slabs of 16.
        for (const [low, high] of [
          [1, 1],
          [2, 2],
          [3, 4],
          [5, 8],
          [9, 16],
          [17, ROW_CAPACITY],
        ] as const) {
          const case_ = randomCase(random, form, K, N);
          const { range, bound } = randomRange(random, low, high);
          expectProducts(await multiply(case_, range, bound), case_, range);
        }
      }
    })(),
  );

  test(
    "all 32 rows at once",
    seeded(async (random) => {
      const case_ = randomCase(random, form, 200, 70);
      const range = { first: 0, count: ROW_CAPACITY };
      expectProducts(await multiply(case_, range), case_, range);
    }),
  );

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const case_ = randomCase(random, form, 64, 70);
      for (const bound of [1, 5, 16, 32]) {
        const range = { first: random.int(0, ROW_CAPACITY - 1), count: 0 };
        const nothing = { first: 0, count: 0 };
        expectUntouchedOutside(await multiply(case_, range, bound), outputWidth(case_), nothing, `bound ${bound}`);
      }
    }),
  );

  test(
    "rows outside the range may hold anything",
    seeded(async (random) => {
      const case_ = randomCase(random, form, 172, 70);
      const range = { first: random.int(1, 20), count: random.int(1, 11) };
      const { K, input } = case_;
      input.fill(NaN, 0, range.first * K).fill(NaN, (range.first + range.count) * K);
      expectProducts(await multiply(case_, range, 12), case_, range);
    }),
  );
});

describe("few-row matmul", () => {
  test("rows take the smallest bucket that holds them, more than the largest run as slabs of it", () => {
    expect([1, 2, 3, 4, 5, 8, 9, 16, 17, 32].map((count) => bucketFor(count, BUCKETS))).toEqual([
      1, 2, 4, 4, 8, 8, 16, 16, 16, 16,
    ]);
    expect([1, 2, 3, 9, 16].map((count) => bucketFor(count, [1, 4, 8]))).toEqual([1, 4, 4, 8, 8]);
    expect(bucketFor(7, [1])).toBe(1);
  });

  test("a gate far from zero neither overflows nor turns into a NaN", async () => {
    // silu(-x) vanishes and silu(x) is x. Beyond exp's range, the quotient must be a zero rather than a NaN.
    const gates = [-1000, -200, -89, -30, 30, 89, 200, 1000];
    const [K, N] = [4, gates.length];
    const weight = new Float32Array(2 * N * K);
    for (const [n, gate] of gates.entries()) weight.set([gate], n * K);
    weight.fill(1, N * K);
    const case_ = { form: "gated", K, N, weight, input: new Float32Array(ROW_CAPACITY * K), residual: weight } as const;
    case_.input[0] = 1;
    const actual = floats(await multiply(case_, { first: 0, count: 1 })).slice(0, N);
    // 1e-11 absolute: silu(-30) is -3e-12.
    expectWithin(
      actual,
      gates.map((gate) => Math.max(gate, 0)),
      (n) => Math.max(1e-11, 2 ** -20 * gates[n]!),
      "gate",
    );
  });

  test("nothing is recorded before it is prepared: it is refused by name", () => {
    const matmul = new FewRowMatmul(bench.device, "store");
    const case_ = randomCase(new Random(1), "store", 4, 4);
    const output = uploadOutput(bench, case_, { first: 0, count: 0 });
    const bound = matmul.bind({ ...uploadCase(bench, case_, [{ first: 0, count: 1 }]), output }, 4);
    const recorder = new Recorder(bench.device.handle, "unprepared");
    const record = () => matmul.record(recorder, bound, rowSet(0, 2));
    expect(record).toThrow(GpuError);
    expect(record).toThrow("matmul/store: the kernel was recorded before");
    expect(recorder.dispatches).toBe(0);
    recorder.finish();
  });

  test.each([[[1]], [[1, 16]], [[1, 4]], [[1, 4, 16]]])(
    "with buckets %j compiled, and no others, five rows still come out right",
    (compiled) =>
      seeded(async (random) => {
        const matmul = new FewRowMatmul(bench.device, "store");
        for (const bucket of compiled) await matmul.prepare(bucket);
        const range = { first: 2, count: 5 };
        const case_ = randomCase(random, "store", 64, 70);
        const output = uploadOutput(bench, case_, range);
        const bound = matmul.bind({ ...uploadCase(bench, case_, [range]), output }, case_.N);
        let rowsOfGroups = 0;
        const [actual] = await bench.run((recorder) => {
          const spied = Object.create(recorder, {
            dispatch: {
              value: (...call: Parameters<Recorder["dispatch"]>) => {
                rowsOfGroups = call[3][1] ?? 1;
                recorder.dispatch(...call);
              },
            },
          }) as Recorder;
          matmul.record(spied, bound, rowSet(0, 5));
        }, output);
        expectProducts(actual, case_, range);
        // Slabs: five of 1 row, two of 4, or one of 16.
        expect(rowsOfGroups).toBe(compiled.includes(16) ? 1 : compiled.includes(4) ? 2 : 5);
      })(),
  );

  test("a tie inside a workgroup's ids goes to the lowest, and the next one is not an id beyond the vocabulary", async () => {
    // One input component a row, so the row's logits are that column of the weights, exactly.
    const [K, N] = [4, 70];
    const weight = new Float32Array(N * K);
    for (let n = 0; n < N; n++) weight.set([n % 7, -n, -5, n < 64 ? -1 : -3e38], n * K);
    const input = new Float32Array(ROW_CAPACITY * K);
    for (let r = 0; r < 4; r++) input[r * K + r] = 1;
    const words = await multiply({ form: "headArgmax", K, N, weight, input, residual: input }, { first: 0, count: 4 });
    const candidates = Array.from({ length: 4 }, (_, r) => {
      const row = words.slice(r * 4, r * 4 + 4);
      return [floats(row)[0], row[1], floats(row)[2], row[3]];
    });
    expect(candidates).toEqual([
      [6, 6, 6, 69],
      [0, 0, -64, 64],
      [-5, 0, -5, 64],
      [-1, 0, Math.fround(-3e38), 64],
    ]);
  });
});

test("the layout of the weights: column n of vec4 k holds elements 4k to 4k + 3 of row n", () => {
  expect([...interleaved(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), 2, 8)]).toEqual([
    1, 2, 3, 4, 9, 10, 11, 12, 5, 6, 7, 8, 13, 14, 15, 16,
  ]);
});
