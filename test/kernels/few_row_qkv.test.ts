/** Queries, keys and values as a few-row matmul: rotation by position, and the KV cache by slot. */

import { describe, test } from "vitest";
import { ROW_CAPACITY } from "../../src/kernels/constants.ts";
import type { ProbeData } from "../../src/kernels/matmul_probe.ts";
import { outputNumbers, plainProducts } from "../../src/kernels/plain_matmul.ts";
import { ropeRotations } from "../../src/kernels/rope.ts";
import { errorBound } from "../../src/kernels/self_check.ts";
import type { RopeSpec } from "../../src/model/spec.ts";
import { rope } from "../reference/ops.ts";
import { seeded } from "../reference/random.ts";
import { expectSameBits, expectWithin, openBench, poisoned, type Words } from "./harness.ts";
import {
  FORMS,
  type HEADS,
  headShapeOf,
  multiply,
  ofBucket,
  randomPass,
  randomProduct,
  rowWords,
  VARIANTS,
} from "./matmul_inputs.ts";

const bench = openBench();

describe.each(["qkv f32", "qkv f16"] as const)("few-row matmul, %s", (form) => {
  const kind = { ...FORMS[form], format: { type: "f32" } } as const;
  const POSITIONS = 700;

  test.each(["1/1 8", "9/3 16", "3/1 24", "7/7 80", "3/1 128"])(
    "heads of %s: RoPE turns queries and keys, keys and values land in the row's slot, nothing else changes",
    (heads) =>
      seeded(async (random) => {
        const [shape = "", headDim] = heads.split(" ");
        const headShape = headShapeOf(shape as (typeof HEADS)[number], Number(headDim));
        const theta = random.pick([10_000, 500_000]);
        const matmul = await ofBucket(bench, kind, VARIANTS.thread, 4);
        const data = randomProduct(random, kind, { inputSize: 72, headShape });
        const pass = randomPass(random, 2, 12);

        // Positions with the first and the last among them; slots that are not the positions.
        const positions = [0, POSITIONS - 1, ...random.ints(ROW_CAPACITY - 2, 0, POSITIONS - 1)];
        const slots = new Set<number>();
        while (slots.size < ROW_CAPACITY) slots.add(random.int(0, POSITIONS - 1));
        const rows = [...slots].map((slot, i) => ({
          slot,
          position: positions[(i - pass.first + ROW_CAPACITY) % ROW_CAPACITY]!,
        }));
        const slotWords = headShape.kvHeads * headShape.headDim * (kind.kv === "f16" ? 0.5 : 1);
        for (const cache of ["keys", "values"]) data.before[cache] = poisoned(POSITIONS * slotWords);
        const [outputs] = await multiply(bench.device, matmul, data, [pass], {
          rows: bench.rows(rows),
          rotations: bench.upload(
            "rotations",
            ropeRotations(POSITIONS, headShape.headDim, plainRope(headShape.headDim, theta)),
          ),
        });

        const expected = { ...data.before };
        for (const [output, words] of Object.entries(expected)) expected[output] = words.slice();
        for (let row = pass.first; row < pass.first + pass.count; row++) {
          const { position, slot } = rows[row]!;
          expectRotated(data, row, outputs!, { position, slot, theta });
          for (const [output, { begin, end }] of rowWords(data, row)) {
            const [from, to] = output === "queries" ? [begin, end] : [slot * slotWords, (slot + 1) * slotWords];
            expected[output]!.set(outputs![output]!.subarray(from, to), from);
          }
        }
        for (const [output, words] of Object.entries(expected)) {
          expectSameBits(outputs![output]!, words, `${output} of no row of the range`);
        }
        bench.release();
      })(),
  );
});

/** Fails unless a row's queries and keys are turned by its position, and keys and values are in its slot. */
function expectRotated(
  data: ProbeData,
  row: number,
  outputs: Readonly<Record<string, Words>>,
  { position, slot, theta }: { position: number; slot: number; theta: number },
): void {
  const { heads, kvHeads, headDim } = data.size.headShape;
  const products = plainProducts(data, row);
  for (let head = 0; head < heads + 2 * kvHeads; head++) {
    const own = products.slice(head * headDim, (head + 1) * headDim);
    const x = Float64Array.from(own, ({ value }) => value);
    const name = head < heads ? "queries" : head < heads + kvHeads ? "keys" : "values";
    const expected = name === "values" ? x : rope(x, position, theta);
    const place = head < heads ? row * heads + head : slot * kvHeads + ((head - heads) % kvHeads);
    const actual = outputNumbers(data, name, outputs[name]!).subarray(place * headDim, (place + 1) * headDim);
    const bound = (i: number) => {
      const partner = own[(i + headDim / 2) % headDim]!;
      return errorBound(data, name, { value: expected[i]!, size: own[i]!.size + partner.size });
    };
    expectWithin(actual, expected, bound, `${name}: row ${row}, head ${head}, position ${position}, slot ${slot}`);
  }
}

/** RoPE of all elements of a head, without scaling. */
function plainRope(headDim: number, ropeTheta: number): RopeSpec {
  return { ropeTheta, rotaryDim: headDim, scaling: { type: "default" } };
}
