/** The reference sampler on cases small enough to check by hand, and its distribution by the chi-square test. */

import { describe, expect, it } from "vitest";
import { chiSquare, chiSquareTail } from "./chi_square.ts";
import { maxAbsDiff, relativeError } from "./compare.ts";
import { softmax } from "./ops.ts";
import { type Counter, type Key, philox } from "./philox.ts";
import { Random, seeded } from "./random.ts";
import {
  gumbel,
  type History,
  probabilities,
  processScores,
  ratioRule,
  type SamplingSettings,
  type Seed,
  sample,
  uniform,
} from "./sampling.ts";

const floats = (...values: number[]) => Float64Array.from(values);
const NOTHING: History = { prompt: [], output: [] };
/** Logits of these probabilities, in any unit. */
const logs = (...weights: number[]) => Float64Array.from(weights, Math.log);
const allowed = (logits: Float64Array, settings: SamplingSettings) => processScores(logits, settings, NOTHING).allowed;

describe("philox 4x32-10", () => {
  const hex = (words: readonly number[]) => words.map((word) => word.toString(16).padStart(8, "0")).join(" ");

  // Random123, tests/kat_vectors: counter, key, output.
  it.each<[Counter, Key, string]>([
    [[0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    [[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], "d16cfe09 94fdcceb 5001e420 24126ea1"],
  ])("answers %j, %j as published", (counter, key, words) => {
    expect(hex(philox(counter, key))).toBe(words);
  });

  it(
    "computes what BigInt does",
    seeded((random) => {
      const word = () => Math.floor(random.uniform() * 2 ** 32);
      for (let i = 0; i < 200; i++) {
        const counter: Counter = [word(), word(), word(), word()];
        const key: Key = [word(), word()];
        expect(hex(philox(counter, key))).toBe(hex(philoxOfBigInts(counter, key)));
      }
    }),
  );

  /** The rounds in whole numbers, the key from its round instead of bumped. */
  function philoxOfBigInts(counter: Counter, key: Key): number[] {
    const word = (x: bigint) => BigInt.asUintN(32, x);
    let c = counter.map(BigInt);
    for (let round = 0n; round < 10n; round++) {
      const [product0, product1] = [0xd2511f53n * c[0]!, 0xcd9e8d57n * c[2]!];
      const [key0, key1] = [word(BigInt(key[0]) + round * 0x9e3779b9n), word(BigInt(key[1]) + round * 0xbb67ae85n)];
      c = [(product1 >> 32n) ^ c[1]! ^ key0, word(product1), (product0 >> 32n) ^ c[3]! ^ key1, word(product0)];
    }
    return c.map(Number);
  }
});

describe("noise", () => {
  const seed: Seed = [0x12345678, 0x9abcdef0];

  it("is that of a computation with 40 digits", () => {
    // mpmath: words 6627e8d5 and 847c324c, -log(-log(1 - v))
    expect(gumbel(0, [0, 0], 0, 0)).toBeCloseTo(0.67484043657271, 13);
    expect(gumbel(49_151, seed, 1000, 3)).toBeCloseTo(0.31633399036097, 13);
  });

  it("takes the words of a block for four ids, and other ones for any other argument", () => {
    const words = philox([5, 7, 2, 0], seed);
    expect([20, 21, 22, 23].map((id) => uniform(id, seed, 7, 2))).toEqual(words.map((x) => (x + 0.5) / 2 ** 32));
    const all = [
      ...Array.from({ length: 16 }, (_, id) => uniform(id, seed, 7, 2)),
      ...[
        uniform(0, seed, 8, 2),
        uniform(0, seed, 7, 3),
        uniform(0, [0, seed[1]], 7, 2),
        uniform(0, [seed[0], 0], 7, 2),
      ],
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  it("is Gumbel noise: mean and variance", () => {
    const count = 20_000;
    const values = Array.from({ length: count }, (_, id) => gumbel(id, seed, 0, 0));
    const mean = values.reduce((sum, x) => sum + x, 0) / count;
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / count;
    expect(Math.abs(mean - 0.5772156649)).toBeLessThan(0.04); // 4 standard errors
    expect(Math.abs(variance - Math.PI ** 2 / 6)).toBeLessThan(0.1);
  });
});

describe("bias and penalties", () => {
  const history: History = { prompt: [0, 1, 0], output: [2, 3, 3, 1] };
  const scores = (logits: Float64Array, settings: SamplingSettings) => processScores(logits, settings, history).scores;

  it("without settings are the logits", () => {
    expect(processScores(floats(1, -2), {}, history)).toEqual({ scores: floats(1, -2), allowed: [0, 1] });
  });

  it("repetition divides what is positive and multiplies the rest, once an id, of prompt and output", () => {
    expect(scores(floats(4, -4, 3, -1, 4), { repetitionPenalty: 2 })).toEqual(floats(2, -8, 1.5, -2, 4));
  });

  it("frequency counts in the output, presence does not count", () => {
    expect(scores(floats(0, 0, 0, 0, 0), { frequencyPenalty: 0.25 })).toEqual(floats(0, -0.25, -0.25, -0.5, 0));
    expect(scores(floats(0, 0, 0, 0, 0), { presencePenalty: 0.25 })).toEqual(floats(0, -0.25, -0.25, -0.25, 0));
  });

  it("bias is added first, then repetition, then the others, and temperature divides at last", () => {
    const settings: SamplingSettings = {
      logitBias: new Map([
        [3, 8],
        [4, -Infinity],
      ]),
      repetitionPenalty: 2,
      frequencyPenalty: 1,
      presencePenalty: 0.5,
      temperature: 0.5,
    };
    // id 3: ((-2 + 8) / 2 - 2 * 1 - 0.5) / 0.5
    expect(scores(floats(1, 1, 1, -2, 1), settings)).toEqual(floats(1, -2, -2, 1, -Infinity));
    expect(sample(floats(1, -Infinity), [0, 1], [1, 2], 3, 4)).toBe(0);
  });
});

describe("filters", () => {
  it("top-k keeps what is tied with the k-th", () => {
    const logits = floats(1, 3, 2, 2, 0, 2);
    expect(allowed(logits, { topK: 1 })).toEqual([1]);
    expect(allowed(logits, { topK: 2 })).toEqual([1, 2, 3, 5]);
    expect(allowed(logits, { topK: 4 })).toEqual([1, 2, 3, 5]);
    expect(allowed(logits, { topK: 5 })).toEqual([0, 1, 2, 3, 5]);
    expect(allowed(logits, { topK: 100 })).toEqual([0, 1, 2, 3, 4, 5]);
    expect(allowed(logits, { topK: 0 })).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it("top-p keeps the least mass that is enough, and ties", () => {
    const logits = logs(0.1, 0.4, 0.2, 0.2, 0.1);
    expect(allowed(logits, { topP: 0 })).toEqual([1]);
    expect(allowed(logits, { topP: 0.39 })).toEqual([1]);
    expect(allowed(logits, { topP: 0.41 })).toEqual([1, 2, 3]);
    expect(allowed(logits, { topP: 0.79 })).toEqual([1, 2, 3]);
    expect(allowed(logits, { topP: 0.81 })).toEqual([0, 1, 2, 3, 4]);
    expect(allowed(floats(0, 0, 0, 0), { topP: 0.25 })).toEqual([0, 1, 2, 3]);
  });

  it("top-p keeps a mass that is met exactly", () => {
    expect(allowed(floats(0, 0, -Infinity), { topP: 0.5 })).toEqual([0, 1]);
    expect(allowed(floats(0, -1000), { topP: 1 - 2 ** -53 })).toEqual([0]);
  });

  it("min-p goes by the largest", () => {
    const logits = logs(0.1, 0.4, 0.2, 0.3);
    expect(allowed(logits, { minP: 0.24 })).toEqual([0, 1, 2, 3]);
    expect(allowed(logits, { minP: 0.26 })).toEqual([1, 2, 3]);
    expect(allowed(logits, { minP: 0.74 })).toEqual([1, 3]);
    expect(allowed(floats(1, 2, 2, 0), { minP: 1 })).toEqual([1, 2]);
  });

  it("typical-p keeps what is closest to the entropy: not always the most probable", () => {
    // H = 1.175: surprisals 0.511, 1.897 (twice) and 2.996 (twice) lie 0.664, 0.722 and 1.821 from it
    const logits = logs(0.6, 0.15, 0.15, 0.05, 0.05);
    expect(allowed(logits, { typicalP: 0.5 })).toEqual([0]);
    expect(allowed(logits, { typicalP: 0.7 })).toEqual([0, 1, 2]);
    expect(allowed(logits, { typicalP: 0.91 })).toEqual([0, 1, 2, 3, 4]);
    // H = 1.748: surprisals 0.916 of the first and 2.303 of the others lie 0.832 and 0.554 from it
    const flat = logs(0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1);
    expect(allowed(flat, { typicalP: 0.05 })).toEqual([1, 2, 3, 4, 5, 6]);
    expect(allowed(flat, { typicalP: 0.59 })).toEqual([1, 2, 3, 4, 5, 6]);
    expect(allowed(flat, { typicalP: 0.61 })).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(allowed(floats(0, -Infinity, 0), { typicalP: 0.9 })).toEqual([0, 2]);
  });

  it("work on what the one before left, renormalised", () => {
    const logits = logs(0.4, 0.3, 0.2, 0.1);
    expect(allowed(logits, { topP: 0.5 })).toEqual([0, 1]);
    expect(allowed(logits, { topK: 2, topP: 0.5 })).toEqual([0]); // 0.4 / 0.7
    // Of 4/9, 3/9 and 2/9, H = 1.061, the second lies closest (0.038), then the first (0.250).
    expect(allowed(logits, { topP: 0.8, minP: 0.5, typicalP: 0.3 })).toEqual([1]);
    expect(allowed(logits, { topP: 0.8, minP: 0.5, typicalP: 0.4 })).toEqual([0, 1]);
    // Of 4/7 and 3/7, H = 0.683, the first lies closer (0.123, and 0.164).
    expect(allowed(logits, { topP: 0.8, minP: 0.6, typicalP: 0.3 })).toEqual([0]);
  });

  it("follow the temperature", () => {
    const logits = logs(0.6, 0.3, 0.1); // 36/46, 9/46 and 1/46 at temperature 1/2
    expect(allowed(logits, { topP: 0.7 })).toEqual([0, 1]);
    expect(allowed(logits, { topP: 0.7, temperature: 0.5 })).toEqual([0]);
  });

  it("always leave an id", () => {
    const settings = { topK: 1, topP: 0, minP: 1, typicalP: 0 };
    expect(allowed(logs(0.2, 0.5, 0.3), settings)).toEqual([1]);
    expect(allowed(floats(0), settings)).toEqual([0]);
  });
});

describe("temperature 0", () => {
  it("is the lowest id of the largest penalised scores, whatever the filters", () => {
    const history = { prompt: [], output: [2] };
    const settings = { temperature: 0, presencePenalty: 1, typicalP: 0.01, minP: 0.5 };
    const { scores, allowed } = processScores(floats(0, 2, 2.5, 2), settings, history);
    expect([scores, allowed]).toEqual([floats(0, 2, 1.5, 2), [1]]);
    expect(probabilities(scores, allowed)).toEqual(floats(0, 1, 0, 0));
    expect(sample(scores, allowed, [1, 2], 3, 4)).toBe(1);
  });
});

describe("distribution of the samples", () => {
  const SAMPLES = 20_000;
  const random = new Random(1);
  const logits = Float64Array.from(random.normals(23, 1.5));
  const history: History = { prompt: [3, 4, 5], output: [6, 7, 7] };

  /** How often each id is drawn with the seeds 0, 1, ... in the lower or the upper word. */
  function draw(settings: SamplingSettings, word: 0 | 1 = 0, position = 5, stream = 1): Uint32Array {
    const { scores, allowed } = processScores(logits, settings, history);
    const counts = new Uint32Array(logits.length);
    for (let i = 0; i < SAMPLES; i++) {
      const id = sample(scores, allowed, word === 0 ? [i, 77] : [77, i], position, stream);
      counts[id] = counts[id]! + 1;
    }
    return counts;
  }

  function expected(settings: SamplingSettings): Float64Array {
    const { scores, allowed } = processScores(logits, settings, history);
    return probabilities(scores, allowed);
  }

  const CASES: SamplingSettings[] = [
    {},
    { temperature: 0.6, topK: 8 },
    { temperature: 1.5, topP: 0.9, repetitionPenalty: 1.3 },
    { temperature: 2, minP: 0.1, presencePenalty: 1, frequencyPenalty: 0.5, logitBias: new Map([[1, 2]]) },
    { typicalP: 0.7 },
  ];

  it.each(CASES)("%j", (settings) => {
    expect(chiSquare(draw(settings), expected(settings), SAMPLES).pValue).toBeGreaterThan(1e-4);
    expect(chiSquare(draw(settings, 1, 1234, 0), expected(settings), SAMPLES).pValue).toBeGreaterThan(1e-4);
  });

  it("along positions and along streams, with one seed", () => {
    const scores = Float64Array.from(logits);
    const all = Array.from(scores.keys());
    for (const along of ["position", "stream"]) {
      const counts = new Uint32Array(logits.length);
      for (let i = 0; i < SAMPLES; i++) {
        const id = along === "position" ? sample(scores, all, [9, 9], i, 0) : sample(scores, all, [9, 9], 3, i);
        counts[id] = counts[id]! + 1;
      }
      expect(chiSquare(counts, softmax(scores), SAMPLES).pValue, along).toBeGreaterThan(1e-4);
    }
  });

  it("a wrong one is rejected", () => {
    const counts = draw({});
    expect(chiSquare(counts, expected({ temperature: 1.1 }), SAMPLES).pValue).toBeLessThan(1e-9);
    expect(chiSquare(counts, expected({ repetitionPenalty: 1.2 }), SAMPLES).pValue).toBeLessThan(1e-9);
    expect(chiSquare(counts, expected({ topK: 22 }), SAMPLES).pValue).toBe(0); // drawn, and should not be
  });
});

describe("ratio rule", () => {
  it("on a case by hand", () => {
    const [p, q] = [floats(0.5, 0.25, 0.25, 0), floats(0.25, 0.5, 0.125, 0.125)];
    expect(ratioRule(p, q, 0, 0.999)).toEqual({ probability: 1, accepted: true, residual: floats(2 / 3, 0, 1 / 3, 0) });
    expect(ratioRule(p, q, 1, 0.499)).toMatchObject({ probability: 0.5, accepted: true });
    expect(ratioRule(p, q, 1, 0.5)).toMatchObject({ probability: 0.5, accepted: false });
    expect(ratioRule(p, q, 3, 0)).toMatchObject({ probability: 0, accepted: false });
    expect(() => ratioRule(q, p, 3, 0)).toThrow("draft 3 has probability 0");
  });

  it("of equal distributions keeps every draft", () => {
    const p = floats(0.3, 0.7);
    expect(ratioRule(p, p, 0, 1 - 2 ** -32)).toEqual({ probability: 1, accepted: true, residual: p });
  });

  it(
    "gives p, whatever q",
    seeded((random) => {
      for (let i = 0; i < 50; i++) {
        const [p, q] = [softmax(random.normals(10, 2)), softmax(random.normals(10, 2))];
        const mixed = new Float64Array(10);
        for (let x = 0; x < 10; x++) {
          const { probability, residual } = ratioRule(p, q, x, 0);
          mixed[x] = mixed[x]! + q[x]! * probability;
          for (let y = 0; y < 10; y++) mixed[y] = mixed[y]! + q[x]! * (1 - probability) * residual[y]!;
        }
        expect(maxAbsDiff(mixed, p)).toBeLessThan(1e-14);
      }
    }),
  );
});

describe("chi-square test", () => {
  // mpmath, gammainc(degrees / 2, statistic / 2, inf, regularized=True); the first three are 5 % points of tables.
  it.each([
    [3.841459, 1, 0.049999994653196],
    [18.307, 10, 0.050000589091398],
    [124.342, 100, 0.050000715769972],
    [23.589, 5, 0.00026036540717741],
    [0.5, 3, 0.91889141165468],
    [1e-6, 1, 0.99920211557218],
    [5, 2, 0.082084998623899],
    [11, 11, 0.44326327842647],
    [60, 1, 9.4857375710738e-15],
    [100, 10, 5.4497019829205e-17],
    [950, 1001, 0.87385697972213],
    [1050, 1000, 0.13247405682148],
    [1300, 1000, 3.8897364994869e-10],
  ])("P(chi-square >= %d) of %d degrees", (statistic, degrees, tail) => {
    expect(relativeError([chiSquareTail(statistic, degrees)], [tail]).error).toBeLessThan(1e-11);
  });

  it("is 1 at 0 and 0 at infinity", () => {
    expect([chiSquareTail(0, 4), chiSquareTail(1e6, 4), chiSquareTail(Infinity, 4)]).toEqual([1, 0, 0]);
  });

  it("on a case by hand", () => {
    const { statistic, degrees, pValue } = chiSquare([30, 14, 34, 45, 57, 20], [0.1, 0.1, 0.2, 0.2, 0.3, 0.1], 200);
    // (10^2 + 6^2 + 0) / 20 + (6^2 + 5^2) / 40 + 3^2 / 60
    expect([statistic, degrees]).toEqual([expect.closeTo(8.475, 12), 5]);
    expect(pValue).toBeCloseTo(chiSquareTail(8.475, 5), 12);
  });

  it("pools cells that expect fewer than 5", () => {
    // 40, 52 and a pool of 4 + 4 that saw 10
    const pooled = chiSquare([40, 50, 10, 0], [0.4, 0.52, 0.04, 0.04], 100);
    expect([pooled.statistic, pooled.degrees]).toEqual([expect.closeTo(4 / 52 + 4 / 8, 12), 2]);
    // The pool expects 4: it joins the 46.
    const joined = chiSquare([50, 40, 9, 1], [0.5, 0.46, 0.02, 0.02], 100);
    expect([joined.statistic, joined.degrees]).toEqual([expect.closeTo(0, 12), 1]);
    // All in one cell: nothing to compare.
    expect(chiSquare([1, 1], [0.5, 0.5], 2)).toEqual({ statistic: 0, degrees: 0, pValue: 1 });
  });

  it("what has probability 0 may not be observed", () => {
    expect(chiSquare([50, 50, 0], [0.5, 0.5, 0], 100)).toMatchObject({ degrees: 1, pValue: 1 });
    expect(chiSquare([50, 49, 1], [0.5, 0.5, 0], 100)).toMatchObject({ statistic: Infinity, pValue: 0 });
  });

  it("refuses what does not belong together", () => {
    expect(() => chiSquare([1], [0.5, 0.5], 1)).toThrow("1 counts and 2 probabilities");
    expect(() => chiSquare([1, 1], [0.5, 0.5], 3)).toThrow("2 counted of 3 samples");
    expect(() => chiSquare([1, 1], [0.5, 0.4], 2)).toThrow("sum to 0.9");
    expect(() => chiSquare([1, 1], [0.5, Number.NaN], 2)).toThrow("sum to NaN");
  });
});
