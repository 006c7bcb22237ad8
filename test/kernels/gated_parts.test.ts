/** Gate and up of several matrices: what each kernel makes of the parts is what it makes of the whole, to the bit. */

import { describe, test } from "vitest";
import type { Recorder } from "../../src/gpu/commands.ts";
import { type BoundMatmul, BUCKETS } from "../../src/kernels/few_row_matmul.ts";
import { exactInInt8 } from "../../src/kernels/int8_rows.ts";
import type { RowSet } from "../../src/kernels/kernel.ts";
import { ManyRowMatmul, type Tile } from "../../src/kernels/many_row_matmul.ts";
import type { MatmulBinding, MatmulSize } from "../../src/kernels/matmul_form.ts";
import { type ProbeData, runProbe } from "../../src/kernels/matmul_probe.ts";
import { formatName } from "../../src/kernels/weight_format.ts";
import { type Random, seeded } from "../reference/random.ts";
import { expectSameBits, openBench, poisoned, rowSet, type Words } from "./harness.ts";
import {
  columnsOf,
  expectProducts,
  formatOf,
  ofBucket,
  ofVariant,
  randomPass,
  randomProduct,
  VARIANTS,
  type VariantName,
} from "./matmul_inputs.ts";

const bench = openBench();

/** A kernel of either regime. */
interface GatedMatmul {
  shape(size: MatmulSize): Words;
  bind(buffers: Readonly<Record<MatmulBinding<"gated">, GPUBuffer>>, outputs: number): BoundMatmul;
  record(recorder: Recorder, bound: BoundMatmul, rows: RowSet): void;
}

const OUTPUTS = 257;
/** Quick to compile on a software adapter. */
const SMALL_TILE: Tile = { rows: 16, columns: 16, threadRows: 2, threadColumns: 4, chunkVectors: 2 };

/** A product whose outputs stand amid poison in each row of the result. */
function amidPoison(random: Random, data: ProbeData): ProbeData {
  const resultOffset = random.int(1, 40);
  const resultStride = resultOffset + OUTPUTS + random.int(1, 40);
  const size = { ...data.size, resultOffset, resultStride };
  return { ...data, size, before: { output: poisoned(data.rows * resultStride) } };
}

/** Computes the whole and its parts, the parts one after the other into the same rows. */
async function expectSameInParts(random: Random, matmul: GatedMatmul, data: ProbeData): Promise<void> {
  const cuts = [0, random.int(1, 100), random.int(101, 256), OUTPUTS];
  const pass = randomPass(random, 1, 20);
  const rows = (range: number) => rowSet(range, pass.bound);
  const record = (recorder: Recorder, buffers: Readonly<Record<MatmulBinding, GPUBuffer>>, range: number) => {
    for (const [i, end] of cuts.slice(1).entries()) {
      const first = cuts[i]!;
      const count = end - first;
      const { weight, scales } = columnsOf(data, [
        { first, count },
        { first: OUTPUTS + first, count },
      ]);
      const size = { ...data.size, outputs: count, resultOffset: data.size.resultOffset! + first };
      const own = {
        shape: bench.uniform("shape", matmul.shape(size)),
        weight: bench.upload("weight", weight),
        scales: bench.upload("scales", scales),
      };
      matmul.record(recorder, matmul.bind({ ...buffers, ...own }, count), rows(range));
    }
  };
  const ranges = [{ ...pass }];
  const [whole, parts] = await runProbe(bench.device, data, matmul.shape(data.size), [
    {
      ranges,
      record: (recorder, buffers, range) => matmul.record(recorder, matmul.bind(buffers, OUTPUTS), rows(range)),
    },
    { ranges, record },
  ]);
  expectProducts(data, pass, whole!, () => 0, "the whole");
  expectSameBits(parts!.output!, whole!.output!, `${formatName(data.kind.format)}, cut at ${cuts}`);
}

const SIZE = { inputSize: 200, outputs: OUTPUTS };

describe("gate and up in parts", () => {
  test.for(Object.keys(VARIANTS) as VariantName[])("few rows, %s", (name, context) =>
    ofVariant(bench, name, async (random) => {
      const format = random.pick([formatOf("f32"), formatOf("f16"), formatOf("q8 symmetric"), formatOf("q4 minimum")]);
      const kind = { form: "gated", format, bias: name !== "thread" } as const;
      const matmul = await ofBucket(bench, kind, VARIANTS[name], random.pick(BUCKETS));
      await expectSameInParts(random, matmul, amidPoison(random, randomProduct(random, kind, SIZE)));
    })(context),
  );

  test.each([
    ["tiles", "f16"],
    ["tiles", "q4 symmetric"],
    ["thread", "f32"],
    ["int8", "q8 symmetric"],
  ] as const)("many rows, %s, %s", (variant, codes) =>
    seeded(async (random) => {
      const kind = { form: "gated", format: formatOf(codes), bias: codes === "f16" } as const;
      const matmul = new ManyRowMatmul(bench.device, kind, variant, SMALL_TILE);
      await matmul.prepare();
      const data = amidPoison(random, randomProduct(random, kind, SIZE));
      await expectSameInParts(random, matmul, variant === "int8" ? exactInInt8(data) : data);
    })(),
  );
});
