import { describe, expect, test } from "vitest";
import { NONE } from "../../src/kernels/constants.ts";
import { Embedding, embeddingShape } from "../../src/kernels/embedding.ts";
import { type Random, seeded } from "../reference/random.ts";
import { bits, expectSameBits, interleaved, openBench, poisoned, type Range, rowSet, type Words } from "./harness.ts";

const bench = openBench();
const ROWS = 32;

interface Case {
  hiddenSize: number;
  vocabSize: number;
  range: Range;
  bound: number;
  tokens: number[];
}

/** The hidden states that one dispatch leaves, and those that copying the embedding's rows gives. */
async function embed(
  random: Random,
  { hiddenSize, vocabSize, range, bound, tokens }: Case,
): Promise<{ actual: Words; expected: Words }> {
  const embedding = random.normals(vocabSize * hiddenSize);
  const hidden = bench.output("hidden", ROWS * hiddenSize);
  const kernel = new Embedding(bench.device);
  await kernel.prepare();
  const group = kernel.bind({
    range: bench.ranges({ first: 0, count: 0 }, range),
    shape: bench.uniform("shape", embeddingShape(hiddenSize, vocabSize)),
    rows: bench.rows(tokens.map((token) => ({ token }))),
    embedding: bench.upload("embedding", interleaved(embedding, vocabSize, hiddenSize)),
    hidden,
  });
  const [actual] = await bench.run((r) => kernel.dispatch(r, group, rowSet(1, bound), hiddenSize), hidden);

  const expected = poisoned(ROWS * hiddenSize);
  for (let row = range.first; row < range.first + range.count; row++) {
    const token = Math.min(tokens[row]!, vocabSize - 1);
    expected.set(bits(embedding.slice(token * hiddenSize, (token + 1) * hiddenSize)), row * hiddenSize);
  }
  bench.release();
  return { actual, expected };
}

describe("embedding", () => {
  test.each([4, 64, 172, 260, 576])(
    "copies the rows of its range exactly and writes no other, hidden size %i",
    (hiddenSize) =>
      seeded(async (random) => {
        const vocabSize = random.int(1, 300);
        for (const range of [
          { first: 0, count: 1 },
          { first: random.int(1, 15), count: random.int(2, 16) },
          { first: 0, count: ROWS },
          { first: 7, count: 0 },
        ]) {
          const bound = Math.min(ROWS, range.count + random.int(1, 3));
          const tokens = random.ints(ROWS, 0, vocabSize - 1);
          const { actual, expected } = await embed(random, { hiddenSize, vocabSize, range, bound, tokens });
          expectSameBits(actual, expected, `vocabulary ${vocabSize}, rows ${range.first} + ${range.count}`);
        }
      })(),
  );

  test(
    "first and last id are in reach, and the draft that is no id reads inside the matrix",
    seeded(async (random) => {
      const range = { first: 0, count: 3 };
      const tokens = [0, 70, NONE, ...Array(ROWS - 3).fill(0)];
      const { actual, expected } = await embed(random, { hiddenSize: 12, vocabSize: 71, range, bound: 3, tokens });
      expectSameBits(actual, expected, "hidden");
      expect(actual.slice(24, 36)).toEqual(actual.slice(12, 24));
    }),
  );
});
