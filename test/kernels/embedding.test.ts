import { describe, expect, test } from "vitest";
import { NONE, ROW_CAPACITY } from "../../src/kernels/constants.ts";
import { Embedding, embeddingShape } from "../../src/kernels/embedding.ts";
import { streamStride } from "../../src/kernels/matmul_form.ts";
import { randomMatrix } from "../../src/kernels/weight_codec.ts";
import { formatName, isBlockFormat, paddedSize, type WeightFormat } from "../../src/kernels/weight_format.ts";
import type { ColumnRun } from "../../src/weights/column_runs.ts";
import { type Random, seeded } from "../reference/random.ts";
import {
  expectSameBits,
  expectWithin,
  floats,
  openBench,
  POISON,
  poisoned,
  type Range,
  rowSet,
  U,
  type Words,
} from "./harness.ts";
import { FORMATS } from "./matmul_inputs.ts";

const bench = openBench();

interface Case {
  format: WeightFormat;
  hiddenSize: number;
  /** The matrices, each of a run of ids. */
  runs: readonly ColumnRun[];
  vocabSize: number;
  scale?: number;
  range: Range;
  /** What the host knows of the range's number of rows. */
  bound: number;
  tokens: readonly number[];
}

interface Embedded {
  stream: Words;
  normWeight: Float32Array;
  /** The numbers of an id, as its matrix holds them; none of an id in no matrix. */
  embeddingOf: (token: number) => Float64Array | undefined;
}

async function embed(random: Random, case_: Case): Promise<Embedded> {
  const { format, hiddenSize, runs, vocabSize, scale, range, bound, tokens } = case_;
  const kernel = new Embedding(bench.device, format);
  await kernel.prepare();
  const matrices = runs.map(({ count }) => randomMatrix(format, hiddenSize, count, () => random.uniform()));
  const normWeight = random.normals(hiddenSize);
  const stream = bench.output("stream", ROW_CAPACITY * streamStride(hiddenSize));
  const shared = {
    range: bench.ranges({ first: 0, count: 0 }, range),
    rows: bench.rows(tokens.map((token) => ({ token }))),
    normWeight: bench.upload("norm weight", normWeight),
    stream,
  };
  const groups = runs.map(({ first: firstId, count: columns }, i) =>
    kernel.bind({
      ...shared,
      shape: bench.uniform(
        "shape",
        embeddingShape({ hiddenSize, columns, firstId, vocabSize, ...(scale && { scale }) }),
      ),
      weight: bench.upload("weight", matrices[i]!.weight),
      scales: bench.upload("scales", matrices[i]!.scales),
    }),
  );
  const [words] = await bench.run((recorder) => {
    for (const group of groups) kernel.dispatch(recorder, group, rowSet(1, bound), hiddenSize);
  }, stream);
  bench.release();
  const embeddingOf = (token: number) => {
    const id = Math.min(token, vocabSize - 1);
    const i = runs.findIndex(({ first, count }) => id >= first && id < first + count);
    const at = (id - (runs[i]?.first ?? 0)) * hiddenSize;
    return matrices[i]?.values.subarray(at, at + hiddenSize);
  };
  return { stream: words, normWeight, embeddingOf };
}

/**
 * Fails unless each row of the range holds its embedding, and the same times the norm's weight, and everything else is
 * untouched: other rows, the rows of ids in no matrix, and the padding behind both copies.
 */
function expectEmbedded({ stream, normWeight, embeddingOf }: Embedded, case_: Case): void {
  const { format, hiddenSize, scale = 1, range, tokens } = case_;
  const stride = streamStride(hiddenSize);
  const padded = paddedSize(hiddenSize);
  const untouched = stream.slice();
  for (let row = range.first; row < range.first + range.count; row++) {
    const embedding = embeddingOf(tokens[row]!);
    if (!embedding) continue;
    const what = `${formatName(format)}, row ${row}, token ${tokens[row]}`;
    const at = row * stride;
    const plain = floats(stream.slice(at, at + hiddenSize));
    // A block's element is a product and a sum, each rounded once; they may cancel. The scale is rounded once more.
    const rounded = isBlockFormat(format) ? (format.codes === "minimum" ? 4 : 2) : 0;
    const bound = (x: number) =>
      U * ((rounded + (scale === 1 ? 0 : 2)) * Math.abs(x) + (rounded === 4 ? 4 * Math.abs(scale) : 0));
    const expected = embedding.map((x) => x * scale);
    expectWithin(plain, expected, (i) => bound(expected[i]!), what);
    const gained = floats(stream.slice(at + padded, at + padded + hiddenSize));
    expectWithin(
      gained,
      plain.map((x, i) => x * normWeight[i]!),
      (i) => 2 * U * Math.abs(plain[i]! * normWeight[i]!),
      what,
    ); // prettier
    untouched.fill(POISON, at, at + hiddenSize).fill(POISON, at + padded, at + padded + hiddenSize);
  }
  expectSameBits(untouched, poisoned(stream.length), "what no row of the range writes");
}

/** A vocabulary in one run of ids. */
const whole = (vocabSize: number) => ({ vocabSize, runs: [{ first: 0, count: vocabSize }] });

describe("embedding", () => {
  test.each(FORMATS.map((format) => [formatName(format), format] as const))(
    "copies the rows of its range, with and without the norm's weight, and writes no other: %s",
    (_, format) =>
      seeded(async (random) => {
        for (const hiddenSize of [4, 64, 172, 260, 576]) {
          const vocabSize = random.int(1, 100);
          const range = { first: random.int(0, 15), count: random.int(1, 16) };
          const case_ = {
            format,
            hiddenSize,
            ...whole(vocabSize),
            scale: random.pick([1, 1, Math.fround(Math.sqrt(hiddenSize))]),
            range,
            bound: Math.min(ROW_CAPACITY, range.count + random.int(0, 3)),
            tokens: random.ints(ROW_CAPACITY, 0, vocabSize - 1),
          };
          expectEmbedded(await embed(random, case_), case_);
        }
      })(),
  );

  test.each(["f32", "f16"] as const)("an embedding in %s is copied exactly", (type) =>
    seeded(async (random) => {
      const range = { first: 0, count: ROW_CAPACITY };
      const tokens = random.ints(ROW_CAPACITY, 0, 40);
      const case_ = { format: { type }, hiddenSize: 72, ...whole(41), range, bound: ROW_CAPACITY, tokens };
      const { stream, embeddingOf } = await embed(random, case_);
      for (const [row, token] of tokens.entries()) {
        const at = row * streamStride(72);
        expect([...floats(stream.slice(at, at + 72))], `row ${row}`).toEqual([...embeddingOf(token)!]);
      }
    })(),
  );

  test(
    "an empty range writes nothing, whatever the host's bound",
    seeded(async (random) => {
      const range = { first: 7, count: 0 };
      const tokens = random.ints(ROW_CAPACITY, 0, 9);
      const case_ = { format: { type: "f32" }, hiddenSize: 64, ...whole(10), range, bound: 20, tokens } as const;
      const { stream } = await embed(random, case_);
      expectSameBits(stream, poisoned(stream.length), "stream");
    }),
  );

  test(
    "first and last id are in reach, and the draft that is no id reads inside the matrix",
    seeded(async (random) => {
      const range = { first: 0, count: 4 };
      const tokens = [0, 70, NONE, 71, ...Array(ROW_CAPACITY - 4).fill(0)];
      const case_ = { format: { type: "f16" }, hiddenSize: 12, ...whole(71), range, bound: 4, tokens } as const;
      const embedded = await embed(random, case_);
      expectEmbedded(embedded, case_);
      const row = (r: number) => embedded.stream.slice(r * streamStride(12), (r + 1) * streamStride(12));
      expect(row(2)).toEqual(row(1));
      expect(row(3)).toEqual(row(1));
    }),
  );

  test.each(FORMATS.filter((_, i) => i % 5 === 0).map((format) => [formatName(format), format] as const))(
    "of several matrices each writes the rows of its own ids: %s",
    (_, format) =>
      seeded(async (random) => {
        const ends = [random.int(1, 40), random.int(41, 80), 97];
        const runs = ends.map((end, i) => ({ first: ends[i - 1] ?? 0, count: end - (ends[i - 1] ?? 0) }));
        const edges = runs.flatMap(({ first, count }) => [first, first + count - 1]);
        const tokens = [...edges, NONE, ...random.ints(ROW_CAPACITY - edges.length - 1, 0, 96)];
        const range = { first: 0, count: ROW_CAPACITY };
        const case_ = { format, hiddenSize: 72, runs, vocabSize: 97, range, bound: ROW_CAPACITY, tokens };
        expectEmbedded(await embed(random, case_), case_);
        // One matrix alone leaves the rows of the others' ids as they are.
        for (const run of runs) {
          const alone = { ...case_, runs: [run] };
          expectEmbedded(await embed(random, alone), alone);
        }
      })(),
  );
});
