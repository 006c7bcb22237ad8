/**
 * The whole forward pass: against the reference decoder on random models, and against itself for the rule that keeps the
 * bits: a row does not depend on the pass it is computed in.
 *
 * The KV cache is full of NaN where nothing was written (test/engine.ts): reading past a row's context shows at once.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { score } from "../../src/decode/score.ts";
import { type Engine, openEngine, poison } from "../engine.ts";
import { randomModelFolder, STORIES } from "../memory_folder.ts";
import { relativeError } from "../reference/compare.ts";
import { Random, randomSeed, seeded } from "../reference/random.ts";

/** Logits after `exitLayer` layers at every position of `ids`, computed `rowsPerPass` rows at a time. */
function logits(engine: Engine, ids: number[], exitLayer: number, rowsPerPass?: number): Promise<Float32Array[]> {
  const at = ids.map((_, position) => position);
  return score(engine.device, engine.forward, engine.table, {
    ids,
    at,
    exitLayer,
    ...(rowsPerPass && { rowsPerPass }),
  });
}

const bits = (row: Float32Array) => new Uint32Array(row.buffer, row.byteOffset, row.length);

describe("against the reference decoder, on models of random shape and weights", () => {
  // f32 keeps 24 bits. A sum of n terms of mixed sign loses about sqrt(n) units in the last place, n < 500 here, and the
  // layers add theirs up: some hundred units of 6e-8. Wrong arithmetic is off by far more than 1e-4.
  const BOUND = 1e-4;

  test.each(Array.from({ length: 8 }, (_, i) => i))(
    "model %i: the logits of every layer",
    seeded(async (random) => {
      const { folder, reference } = randomModelFolder(random);
      const { layers, vocabSize } = reference.config;
      const engine = await openEngine(folder, 256);
      try {
        const ids = random.ints(random.int(1, 80), 0, vocabSize - 1);
        for (let exitLayer = 1; exitLayer <= layers; exitLayer++) {
          const actual = await logits(engine, ids, exitLayer, random.int(1, 32));
          const expected = reference.logits(ids, exitLayer);
          for (const [i, row] of expected.entries()) expect(relativeError(actual[i]!, row).error).toBeLessThan(BOUND);
        }
      } finally {
        engine.device.dispose();
      }
    }),
  );
});

describe("row r of an M-row pass equals the row alone, bit for bit", () => {
  const CONTEXT = 512;
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine(STORIES, CONTEXT);
  });
  afterAll(() => engine.device.dispose());

  const random = new Random(randomSeed());
  const ids = random.ints(CONTEXT, 0, 511);
  let alone: Float32Array[];

  test(`one row a pass (seed ${random.seed})`, async () => {
    alone = await logits(engine, ids, engine.spec.layers, 1);
    expect(alone.every((row) => row.every(Number.isFinite))).toBe(true);
  });

  test.each([2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 32])("%i rows a pass, contexts of 1 to 512", async (rowsPerPass) => {
    poison(engine.device, engine.kv);
    const together = await logits(engine, ids, engine.spec.layers, rowsPerPass);
    const differing = together.flatMap((row, i) =>
      bits(row).some((word, j) => word !== bits(alone[i]!)[j]) ? [i] : [],
    );
    expect(differing).toEqual([]);
  });
});
