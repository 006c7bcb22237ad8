/** Random inputs for the few-row matmul in its four forms, and what must come out. */

import { expect } from "vitest";
import { NONE, ROW_CAPACITY, WORKGROUP } from "../../src/kernels/constants.ts";
import { groups } from "../../src/kernels/kernel.ts";
import { columnsOf, type MatmulForm, matmulShape } from "../../src/kernels/matmul_form.ts";
import { matmul, silu } from "../reference/ops.ts";
import type { Random } from "../reference/random.ts";
import {
  type Bench,
  bits,
  expectUntouchedOutside,
  expectWithin,
  floats,
  interleaved,
  poisoned,
  type Range,
  U,
  type Words,
} from "./harness.ts";

export const FORMS = ["store", "add", "gated", "headArgmax"] as const satisfies readonly MatmulForm[];

export interface MatmulCase {
  form: MatmulForm;
  K: number;
  N: number;
  /** `[N][K]`; `[2 N][K]`, gate above up, for the gated form. */
  weight: Float32Array<ArrayBuffer>;
  /** `[ROW_CAPACITY][K]` */
  input: Float32Array<ArrayBuffer>;
  /** `[ROW_CAPACITY][N]`: what the add form adds to. */
  residual: Float32Array<ArrayBuffer>;
}

export function randomCase(random: Random, form: MatmulForm, K: number, N: number): MatmulCase {
  return {
    form,
    K,
    N,
    weight: random.normals(columnsOf(form) * N * K, random.pick([1, 3]) / Math.sqrt(K)),
    input: random.normals(ROW_CAPACITY * K),
    residual: random.normals(ROW_CAPACITY * N),
  };
}

/** Words of a row of output: candidates are (logit, id) a workgroup. */
export function outputWidth({ form, N }: { form: MatmulForm; N: number }): number {
  return form === "headArgmax" ? 2 * groups(N, WORKGROUP) : N;
}

/** A case's buffers but for the output. */
export function uploadCase(bench: Bench, { form, K, N, weight, input }: MatmulCase, ranges: readonly Range[]) {
  return {
    range: bench.ranges(...ranges),
    shape: bench.uniform("shape", matmulShape(form, K, N)),
    weight: bench.upload("weight", interleaved(weight, columnsOf(form) * N, K)),
    input: bench.upload("input", input),
  };
}

/** An output of poison, but for the rows of `range` in the add form: those hold the residual. */
export function uploadOutput(bench: Bench, case_: MatmulCase, range: Range): GPUBuffer {
  const { form, N, residual } = case_;
  const output = poisoned(ROW_CAPACITY * outputWidth(case_));
  if (form === "add") {
    const end = range.first + range.count;
    output.set(bits(residual.slice(range.first * N, end * N)), range.first * N);
  }
  return bench.upload("output", output);
}

/** Fails unless `output` holds the products of the range's rows, within f32's error, and elsewhere what it held before. */
export function expectProducts(output: Words, case_: MatmulCase, range: Range): void {
  const { form, K, N, weight, input, residual } = case_;
  const width = outputWidth(case_);
  const what = `${form}: K ${K}, N ${N}, rows ${range.first} + ${range.count}`;
  expectUntouchedOutside(output, width, range, what);
  const sizes = weight.map(Math.abs);
  for (let row = range.first; row < range.first + range.count; row++) {
    const x = input.subarray(row * K, (row + 1) * K);
    const product = matmul(weight, x);
    // A sum of K products in f32, in whatever order and fused or not, is off by at most K U (one rounding of the product,
    // K - 1 of the sums) times the sum of the terms' sizes.
    const bound = matmul(sizes, x.map(Math.abs)).map((size) => K * U * size);
    const got = floats(output.slice(row * width, (row + 1) * width));
    if (form === "store") {
      expectWithin(got, product, (n) => bound[n]!, `${what}, row ${row}`);
    } else if (form === "add") {
      const before = residual.subarray(row * N, (row + 1) * N);
      const expected = product.map((p, n) => before[n]! + p);
      // One rounding more, of a number no larger than the result and the product's error together.
      const within = (n: number) => bound[n]! + U * (Math.abs(expected[n]!) + bound[n]!);
      expectWithin(got, expected, within, `${what}, row ${row}`);
    } else if (form === "gated") {
      const [gate, up] = [product.subarray(0, N), product.subarray(N)];
      const expected = up.map((u, n) => silu(gate[n]!) * u);
      const within = (n: number) => {
        const [gateBound, upBound] = [bound[n]!, bound[N + n]!];
        // silu changes at most 1.1 times as fast as its argument.
        const fromSums = 1.1 * gateBound * (Math.abs(up[n]!) + upBound) + Math.abs(silu(gate[n]!)) * upBound;
        // exp: 3 + 2 |x| ULP, an ULP being at most 2 U; 1 + e: U; division: 2.5 ULP; the last product: U.
        const fromSilu = (2 * (3 + 2 * Math.abs(gate[n]!)) + 1 + 5 + 1) * U * Math.abs(expected[n]!);
        return fromSums + fromSilu;
      };
      expectWithin(got, expected, within, `${what}, row ${row}`);
    } else {
      expectCandidates(got, product, bound, `${what}, row ${row}`);
    }
  }
}

/** Fails unless each candidate is an id of its workgroup, with that id's logit, and no other id's logit is surely larger. */
function expectCandidates(
  got: Float32Array<ArrayBuffer>,
  logits: Float64Array,
  bound: Float64Array,
  what: string,
): void {
  const ids = bits(got).filter((_, i) => i % 2 === 1);
  for (const [group, id] of ids.entries()) {
    const [first, end] = [group * WORKGROUP, Math.min(logits.length, (group + 1) * WORKGROUP)];
    expect(id, `${what}: id`).not.toBe(NONE);
    expect(id >= first && id < end, `${what}: id ${id} in ${first}..${end - 1}`).toBe(true);
    expectWithin([got[2 * group]!], [logits[id]!], () => bound[id]!, `${what}: logit of ${id}`);
    for (let other = first; other < end; other++) {
      const surelyLarger = logits[other]! - bound[other]! > logits[id]! + bound[id]!;
      if (surelyLarger) expect.fail(`${what}: chose ${id} (${logits[id]}) over ${other} (${logits[other]})`);
    }
  }
}
