/**
 * Sampling: scores and allowed ids against the float64 reference, ids against the reference's noise, and the distribution of
 * what is drawn by chi-square, for both accept rules.
 */

import { describe, expect, test } from "vitest";
import { NONE } from "../../src/kernels/constants.ts";
import { type SamplingSettings, STREAM } from "../../src/kernels/sampling.ts";
import { chiSquare } from "../reference/chi_square.ts";
import { type Random, seeded } from "../reference/random.ts";
import { gumbel, probabilities, processScores } from "../reference/sampling.ts";
import { SLOW } from "../slow.ts";
import { openBench } from "./harness.ts";
import { type Sampled, sampleRows } from "./sampling_bench.ts";

const bench = openBench();

/** The seeds of a test of a distribution: always the same, so that it cannot fail by chance. */
const seedsOf = (count: number) => Array.from({ length: count }, (_, i) => 1_000_003 * i + 17);
const SEEDS = 20_000;
/** Not rejected above it. */
const REJECTED = 1e-4;

const bits = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]!;

/** The ids that the GPU's filter allows, by the rule of scores.wgsl. */
function allowedIds({ scores, filters }: Sampled, row: number): number[] {
  const { peak, farthest, centre, spread } = filters[row]!;
  const f = Math.fround;
  return [...scores[row]!.entries()].flatMap(([id, score]) => {
    const distance = f(peak - score);
    const within = score > -1.5e38 && bits(distance) <= farthest && bits(Math.abs(f(distance - centre))) <= spread;
    return within ? [id] : [];
  });
}

/** Random logits that no filter's limit falls upon: by a margin, so that f32 and float64 agree on what is allowed. */
function logitsOf(random: Random, vocabSize: number, spread = 3): Float32Array<ArrayBuffer> {
  return random.normals(vocabSize, spread);
}

const FILTERS: Record<string, Partial<SamplingSettings>> = {
  none: {},
  "temperature 0.7": { temperature: 0.7 },
  "top-k 5": { topK: 5 },
  "top-k 1": { topK: 1 },
  "top-k above the vocabulary": { topK: 100_000 },
  "top-p 0.9": { topP: 0.9 },
  "top-p 0.05": { topP: 0.05 },
  "min-p 0.1": { minP: 0.1 },
  "min-p 1": { minP: 1 },
  "typical-p 0.6": { typicalP: 0.6 },
  "all at once": { temperature: 1.3, topK: 40, topP: 0.95, minP: 0.02, typicalP: 0.9 },
};

describe("scores and filters", () => {
  test.each(Object.entries(FILTERS))("%s: the reference's allowed ids", (_, settings) =>
    seeded(async (random) => {
      for (const vocabSize of [7, 64, 300, 1025, 5000]) {
        const rows = [1, 4].map((spread) => logitsOf(random, vocabSize, spread));
        const sampled = await sampleRows(bench, { rows, settings });
        for (const [i, row] of rows.entries()) {
          const expected = processScores(row, { temperature: 1, ...settings }, { prompt: [], output: [] });
          const allowed = allowedIds(sampled, i);
          // A limit within f32's rounding of an id's mass may go either way for that id.
          const differing = [...symmetricDifference(allowed, expected.allowed)];
          expect(differing.length, `${allowed.length} and ${expected.allowed.length} ids`).toBeLessThanOrEqual(1);
          const mass = allowed.reduce((sum, id) => sum + Math.exp(expected.scores[id]! - sampled.filters[i]!.peak), 0);
          expect(Math.abs(sampled.filters[i]!.mass / mass - 1)).toBeLessThan(1e-4);
        }
      }
    })(),
  );

  test("what ties with the last one kept is kept too", async () => {
    const rows = [[0, 3, 1, 3, 3, 2]];
    const topK = await sampleRows(bench, { rows, settings: { topK: 2 } });
    expect(allowedIds(topK, 0)).toEqual([1, 3, 4]);
    const topP = await sampleRows(bench, { rows: [[0, 0, 0, 0]], settings: { topP: 0.3 } });
    expect(allowedIds(topP, 0)).toEqual([0, 1, 2, 3]);
  });

  test(
    "bias and penalties, each row with its own history",
    seeded(async (random) => {
      const vocabSize = 200;
      const settings = {
        temperature: 0.8,
        repetitionPenalty: 1.3,
        frequencyPenalty: 0.4,
        presencePenalty: 0.7,
        logitBias: new Map([
          [3, 2.5],
          [4, Number.NEGATIVE_INFINITY],
          [5, -1],
        ]),
      };
      const prompt = random.ints(30, 0, vocabSize - 1);
      const output = random.ints(20, 0, vocabSize - 1);
      const drafts = [...random.ints(5, 0, vocabSize - 1), output[0]!, output[0]!];
      const rows = Array.from({ length: 8 }, () => logitsOf(random, vocabSize));
      const sampled = await sampleRows(bench, { rows, settings, prompt, output, drafts });
      for (const [i, row] of rows.entries()) {
        const { scores } = processScores(row, settings, { prompt, output: [...output, ...drafts.slice(0, i)] });
        expect(allowedIds(sampled, i)).toEqual(Array.from(scores.keys()).filter((id) => id !== 4));
        for (const [id, score] of scores.entries()) {
          if (id !== 4) expect(Math.abs(sampled.scores[i]![id]! - score)).toBeLessThan(1e-5 * (1 + Math.abs(score)));
        }
      }
    }),
  );
});

function symmetricDifference(a: readonly number[], b: readonly number[]): Set<number> {
  const [inA, inB] = [new Set(a), new Set(b)];
  return new Set([...a.filter((id) => !inB.has(id)), ...b.filter((id) => !inA.has(id))]);
}

describe("the id that is drawn", () => {
  test(
    "is the reference's, wherever the best two are further apart than f32 rounds",
    seeded(async (random) => {
      const vocabSize = 777;
      const rows = [0.5, 2, 6].map((spread) => logitsOf(random, vocabSize, spread));
      const seeds = Array.from(
        { length: 200 },
        () => random.int(0, 2 ** 31 - 1) * 2 ** 22 + random.int(0, 2 ** 22 - 1),
      );
      const position = 41;
      const { ids } = await sampleRows(bench, { rows, seeds, position });
      let compared = 0;
      for (const [s, seed] of seeds.entries()) {
        const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)] as const;
        for (const [i, row] of rows.entries()) {
          const noisy = [...row].map((score, id) => score + gumbel(id, key, position + i + 1, 0));
          const order = noisy.map((_, id) => id).sort((a, b) => noisy[b]! - noisy[a]!);
          if (noisy[order[0]!]! - noisy[order[1]!]! < 1e-4) continue;
          expect(ids[s]![i]).toBe(order[0]);
          compared++;
        }
      }
      expect(compared).toBeGreaterThan(550);
    }),
  );

  test("does not depend on the rows beside it", async () => {
    const rows = Array.from({ length: 8 }, (_, i) => Array.from({ length: 400 }, (_, id) => Math.sin(id * (i + 2))));
    const together = await sampleRows(bench, { rows, seeds: seedsOf(20), settings: { topP: 0.8, topK: 100 } });
    for (const [i, row] of rows.entries()) {
      const alone = await sampleRows(bench, {
        ...{ rows: [row], seeds: seedsOf(20), settings: { topP: 0.8, topK: 100 }, position: 10 + i },
      });
      expect(alone.ids.map(([id]) => id)).toEqual(together.ids.map((ids) => ids[i]));
      expect(alone.scores[0]).toEqual(together.scores[i]);
      expect(alone.filters[0]).toEqual(together.filters[i]);
    }
  });

  test("at temperature 0 is the largest score, of equal ones the lowest id", async () => {
    const row = Array.from({ length: 3000 }, (_, id) => ((id * 37) % 1000) / 100);
    const { ids } = await sampleRows(bench, { rows: [row], settings: { temperature: 0, topK: 3 } });
    expect(ids).toEqual([[row.indexOf(Math.max(...row))]]);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "is none where a logit is %d, in its row only",
    async (value) => {
      const fine = Array.from({ length: 1500 }, (_, id) => Math.cos(id));
      const { ids } = await sampleRows(bench, { rows: [fine, fine.with(1234, value), fine], seeds: seedsOf(3) });
      for (const [a, b, c] of ids) {
        expect(b).toBe(NONE);
        expect(a).not.toBe(NONE);
        expect(c).not.toBe(NONE);
      }
    },
  );

  test("is none where every id is banned", async () => {
    const logitBias = new Map([0, 1, 2].map((id) => [id, Number.NEGATIVE_INFINITY]));
    const { ids } = await sampleRows(bench, { rows: [[1, 2, 3]], settings: { logitBias } });
    expect(ids).toEqual([[NONE]]);
  });
});

/** Draws with many seeds and compares with what the reference says the probabilities are. */
async function pValue(row: ArrayLike<number>, settings: Partial<SamplingSettings>, samples = SEEDS): Promise<number> {
  const { ids } = await sampleRows(bench, { rows: [row], settings, seeds: seedsOf(samples) });
  const { scores, allowed } = processScores(Float64Array.from(row), { temperature: 1, ...settings }, NO_HISTORY);
  return chiSquare(countsOf(ids, row.length), probabilities(scores, allowed), samples).pValue;
}

const NO_HISTORY = { prompt: [], output: [] };

function countsOf(ids: readonly number[][], vocabSize: number): number[] {
  const counts = Array<number>(vocabSize).fill(0);
  for (const [id] of ids) counts[id!]!++;
  return counts;
}

/** A vocabulary whose probabilities fall off as words' do; no two logits alike. */
const ZIPF = Array.from({ length: 512 }, (_, id) => -1.1 * Math.log(1 + ((id * 173) % 512)) + 1e-4 * id);

describe(`the distribution, over ${SEEDS} seeds and fewer, is the softmax of what is allowed`, () => {
  // A setting takes 20 seconds: all filters together in the fast run, and with fewer seeds one of them.
  const fast = ["min-p 0.1", "all at once"];
  const settingsOf = Object.entries(FILTERS).filter(([name]) => SLOW || fast.includes(name));
  test.each(settingsOf)("%s", async (name, settings) => {
    const samples = SLOW || name === "all at once" ? SEEDS : 5_000;
    expect(await pValue(ZIPF, settings, samples)).toBeGreaterThan(REJECTED);
  });

  test("with penalties and biases", async () => {
    const settings = {
      repetitionPenalty: 1.4,
      frequencyPenalty: 0.3,
      presencePenalty: 0.2,
      logitBias: new Map([[7, 3]]),
      topP: 0.97,
    };
    const history = { prompt: [0, 1, 3, 3, 200], output: [3, 3, 44, 51] };
    const { ids } = await sampleRows(bench, { rows: [ZIPF], settings, seeds: seedsOf(SEEDS), ...history });
    const { scores, allowed } = processScores(Float64Array.from(ZIPF), { temperature: 1, ...settings }, history);
    const { pValue } = chiSquare(countsOf(ids, 512), probabilities(scores, allowed), SEEDS);
    expect(pValue).toBeGreaterThan(REJECTED);
  });

  test("a softmax that is another is rejected", async () => {
    const samples = SLOW ? SEEDS : 5_000;
    const { ids } = await sampleRows(bench, { rows: [ZIPF], seeds: seedsOf(samples) });
    const other = ZIPF.map((logit, id) => logit + (id % 2 === 0 ? 0.3 : 0));
    const { scores, allowed } = processScores(Float64Array.from(other), {}, NO_HISTORY);
    expect(chiSquare(countsOf(ids, 512), probabilities(scores, allowed), samples).pValue).toBeLessThan(REJECTED);
  });

  test("of 262,144 ids with all the mass on the last 200", async () => {
    const vocabSize = 262_144;
    const row = Float32Array.from({ length: vocabSize }, (_, id) => (id < vocabSize - 200 ? -60 : (id % 200) / 100));
    expect(await pValue(row, {}, SLOW ? SEEDS : 500)).toBeGreaterThan(REJECTED);
  });

  test("of 262,144 ids, all alike but by a little: the noise's upper tail decides", async () => {
    const vocabSize = 262_144;
    const samples = SLOW ? 3_000 : 150;
    const row = Float32Array.from({ length: vocabSize }, (_, id) => (id % 64) / 64);
    const { ids } = await sampleRows(bench, { rows: [row], seeds: seedsOf(samples) });
    const classes = ids.map(([id]) => [id! % 64]);
    const weights = Array.from({ length: 64 }, (_, each) => Math.exp(each / 64));
    const sum = weights.reduce((a, b) => a + b, 0);
    const expected = weights.map((weight) => weight / sum);
    expect(chiSquare(countsOf(classes, 64), expected, samples).pValue).toBeGreaterThan(REJECTED);
    // And over where in the vocabulary they stand.
    const regions = ids.map(([id]) => [Math.floor(id! / 16_384)]);
    expect(chiSquare(countsOf(regions, 16), Array<number>(16).fill(1 / 16), samples).pValue).toBeGreaterThan(REJECTED);
  });
});

describe("the ratio rule", () => {
  /** p of a target and q of a draft that differ. */
  const draftLogits = ZIPF.map((logit, id) => logit + 1.5 * Math.sin(id));

  test.each([
    ["without filters", {}],
    ["with filters", { topK: 60, topP: 0.9 }],
  ])("drafts drawn from q, accepted or resampled, are distributed as p: %s", async (_, settings) => {
    const samples = SLOW ? SEEDS : 2_500;
    const seeds = seedsOf(samples);
    // Draft, verdict and residual of a seed are independent: streams of their own.
    const drawn = await sampleRows(bench, { rows: [draftLogits], settings, seeds, stream: STREAM.draft });
    const byDraft = new Map<number, number[]>();
    for (const [i, [draft]] of drawn.ids.entries()) byDraft.set(draft!, [...(byDraft.get(draft!) ?? []), seeds[i]!]);
    const counts = Array<number>(ZIPF.length).fill(0);
    let accepted = 0;
    for (const [draft, own] of byDraft) {
      const rows = [ZIPF, ZIPF];
      const both = { rows, draftRows: [draftLogits, draftLogits], drafts: [draft], settings, seeds: own };
      for (const [id] of (await sampleRows(bench, both)).ids) {
        counts[id!]!++;
        accepted += id === draft ? 1 : 0;
      }
    }
    const p = processScores(Float64Array.from(ZIPF), { temperature: 1, ...settings }, NO_HISTORY);
    const q = processScores(Float64Array.from(draftLogits), { temperature: 1, ...settings }, NO_HISTORY);
    const pOf = probabilities(p.scores, p.allowed);
    const qOf = probabilities(q.scores, q.allowed);
    expect(chiSquare(counts, pOf, samples).pValue).toBeGreaterThan(REJECTED);
    // The share of accepted drafts is the overlap of the two (Leviathan et al. 2023, theorem 3.5).
    const overlap = pOf.reduce((sum, each, id) => sum + Math.min(each, qOf[id]!), 0);
    expect(Math.abs(accepted / samples - overlap)).toBeLessThan(5 * Math.sqrt((overlap * (1 - overlap)) / samples));
  });

  test("the token behind the last draft is drawn from p", async () => {
    const samples = SLOW ? SEEDS : 2_500;
    const both = { rows: [ZIPF, ZIPF], draftRows: [ZIPF, ZIPF], drafts: [3], seeds: seedsOf(samples) };
    const { ids } = await sampleRows(bench, both);
    const { scores, allowed } = processScores(Float64Array.from(ZIPF), {}, NO_HISTORY);
    const last = ids.map(([, id]) => [id!]);
    expect(chiSquare(countsOf(last, 512), probabilities(scores, allowed), samples).pValue).toBeGreaterThan(REJECTED);
    expect(
      ids.every(([id]) => id === 3),
      "p = q: every draft is accepted",
    ).toBe(true);
  });
});
