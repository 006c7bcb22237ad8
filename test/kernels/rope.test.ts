/** The table of rotations: each scaling against the formulas of its paper, against numbers by hand and of transformers. */

import { describe, expect, test } from "vitest";
import { inverseFrequencies, ropeRotations } from "../../src/kernels/rope.ts";
import { readModelSpec } from "../../src/model/config.ts";
import type { RopeScaling, RopeSpec } from "../../src/model/spec.ts";
import { relativeError } from "../reference/compare.ts";
import { type RopeSettings, type RopeSizes, ropeAngles } from "../reference/rope.ts";
import { type Json, LLAMA, readJson } from "../weights/model_folder.ts";

const LLAMA_CONFIG = readJson(LLAMA, "config.json");

/** What the library makes of settings. */
function readRope(rope_parameters: RopeSettings, { headDim, maxPositionEmbeddings }: RopeSizes): RopeSpec {
  const sizes: Json = { head_dim: headDim, max_position_embeddings: maxPositionEmbeddings };
  return readModelSpec({ ...LLAMA_CONFIG, ...sizes, rope_parameters }, undefined, "m").spec.attention[0]!.rope!;
}

/** A head of 2 * pairs elements, all rotated. */
function ropeOf(ropeTheta: number, pairs: number, scaling: RopeScaling): RopeSpec {
  return { ropeTheta, rotaryDim: 2 * pairs, scaling };
}

/** Roundings of an f32 and a few more. */
const F32 = 2e-7;

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = F32): void {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    expect(Math.abs(actual[i]! / expected[i]! - 1), `of ${i}: ${actual[i]}, expected ${expected[i]}`).toBeLessThan(
      tolerance,
    );
  }
}

const ramp = (from: number, to: number, count: number) =>
  Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));

const LLAMA3 = { rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 4 } as const;
const YARN = { rope_type: "yarn", rope_theta: 1e6, factor: 4, original_max_position_embeddings: 32768 } as const;
const LONGROPE = {
  rope_type: "longrope",
  rope_theta: 1e4,
  original_max_position_embeddings: 4096,
  short_factor: ramp(1, 2.8, 48),
  long_factor: ramp(1.08, 64.8, 48),
} as const;

/** Settings, head size, longest context and length of the text. */
const CASES: [string, RopeSettings, number, number, number][] = [
  ["plain", { rope_type: "default", rope_theta: 1e4 }, 64, 2048, 2048],
  ["plain, a part of the head", { rope_type: "default", rope_theta: 1e4, partial_rotary_factor: 0.75 }, 128, 2048, 100],
  ["linear", { rope_type: "linear", rope_theta: 1e6, factor: 8 }, 256, 131072, 4096],
  ["dynamic, within the context", { rope_type: "dynamic", rope_theta: 1e4, factor: 4 }, 128, 4096, 1000],
  ["dynamic, at its end", { rope_type: "dynamic", rope_theta: 1e4, factor: 4 }, 128, 4096, 4096],
  ["dynamic, beyond", { rope_type: "dynamic", rope_theta: 1e4, factor: 4 }, 128, 4096, 4097],
  ["dynamic, far beyond", { rope_type: "dynamic", rope_theta: 1e4, factor: 4 }, 128, 4096, 16384],
  [
    "llama3 of 8B",
    { ...LLAMA3, rope_theta: 5e5, factor: 8, original_max_position_embeddings: 8192 },
    128,
    131072,
    9000,
  ],
  ["llama3 of 1B", { ...LLAMA3, rope_theta: 5e5, factor: 32, original_max_position_embeddings: 8192 }, 64, 131072, 10],
  ["yarn of Qwen", YARN, 128, 32768, 40000],
  ["yarn without truncation", { ...YARN, truncate: false }, 128, 32768, 100],
  ["yarn of other betas", { ...YARN, beta_fast: 16, beta_slow: 2, attention_factor: 1.3 }, 64, 32768, 100],
  ["yarn of a short original", { ...YARN, original_max_position_embeddings: 3 }, 64, 32768, 100],
  ["yarn of a small base", { ...YARN, rope_theta: 2, original_max_position_embeddings: 4096 }, 64, 32768, 100],
  ["yarn of one pair's ramp", { ...YARN, beta_fast: 4, beta_slow: 4, truncate: false }, 64, 32768, 100],
  ["longrope, short", LONGROPE, 96, 131072, 4096],
  ["longrope, long", LONGROPE, 96, 131072, 4097],
  ["longrope, a part of the head", { ...LONGROPE, partial_rotary_factor: 0.75 }, 128, 131072, 9000],
  ["longrope with factors", { ...LONGROPE, factor: 16, attention_factor: 1.1 }, 96, 131072, 10],
];

describe.each(CASES)("%s", (_, settings, headDim, maxPositionEmbeddings, length) => {
  const sizes = { headDim, maxPositionEmbeddings, length };
  const rope = readRope(settings, sizes);
  const expected = ropeAngles(settings, sizes);

  test("frequencies are those of the formulas, in f32", () => {
    const frequencies = inverseFrequencies(rope, length);
    expectClose(frequencies, expected.angles);
  });

  test("rotations are cosine and sine of position times frequency, times the attention's factor", () => {
    const rotations = ropeRotations(length, headDim, rope);
    expect(rotations.length).toBe(length * headDim);
    for (const position of [0, 1, 2, length >> 1, length - 1]) {
      const row = rotations.subarray(position * headDim, (position + 1) * headDim);
      const wanted = Array.from({ length: headDim / 2 }, (_, i) => {
        const angle = expected.angles[i];
        if (angle === undefined) return [1, 0];
        return [expected.factor * Math.cos(position * angle), expected.factor * Math.sin(position * angle)];
      });
      // The angle is an f32, so it is off by some parts of 2^24.
      expect(relativeError(row, wanted.flat()).error).toBeLessThan(3e-7 + position * F32);
    }
  });
});

describe("by hand", () => {
  const frequencies = (rope: RopeSpec, contextLength = 8) => [...inverseFrequencies(rope, contextLength)];

  test("plain: theta^(-2i / dim)", () => {
    expect(frequencies(ropeOf(16, 4, { type: "default" }))).toEqual([1, 0.5, 0.25, 0.125]);
  });

  test("linear: all divided by the factor", () => {
    expect(frequencies(ropeOf(16, 4, { type: "linear", factor: 4 }))).toEqual([0.25, 0.125, 0.0625, 0.03125]);
  });

  test("dynamic: at 12 of 8 with factor 2, the stretch is 2, and theta is 4 times as large for a head of 4", () => {
    const rope = ropeOf(16, 2, { type: "dynamic", factor: 2, originalMaxPositionEmbeddings: 8 });
    expect(frequencies(rope, 12)).toEqual([1, 0.125]);
    for (const length of [1, 7, 8]) expect(frequencies(rope, length)).toEqual([1, 0.25]);
  });

  test("llama3: pairs that turn 4, 2, 1 and half a time, kept above 3 and stretched at 1 and below", () => {
    const scaling: RopeScaling = {
      type: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 3,
      originalMaxPositionEmbeddings: 8 * Math.PI,
    };
    expectClose(frequencies(ropeOf(16, 4, scaling)), [1, 0.5 * (0.5 + 0.5 / 8), 0.25 / 8, 0.125 / 8]);
  });

  test("yarn: a ramp over the pairs from the one that turns fast to the one that turns slowly", () => {
    const scaling: RopeScaling = {
      type: "yarn",
      factor: 4,
      originalMaxPositionEmbeddings: 2 * Math.PI * 16, // pair i turns 16 * 2^-i times
      betaFast: 8,
      betaSlow: 1,
      attentionFactor: 1.5,
      truncate: false,
    };
    // Pair 1 turns 8 times, pair 4 once: those at 2 and 3 are a third and two thirds stretched.
    const plain = [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32];
    const kept = [1, 1, 1 - (1 / 3) * 0.75, 1 - (2 / 3) * 0.75, 0.25, 0.25];
    expectClose(
      frequencies(ropeOf(64, 6, scaling)),
      plain.map((frequency, i) => frequency * kept[i]!),
    );
    expect(ropeRotations(1, 12, ropeOf(64, 6, scaling))[0]).toBe(1.5);
  });

  test("longrope: short divisors up to the original context, long ones past it", () => {
    const scaling: RopeScaling = {
      type: "longrope",
      shortFactor: [1, 2],
      longFactor: [4, 8],
      originalMaxPositionEmbeddings: 16,
      attentionFactor: Math.sqrt(3),
    };
    const rope = ropeOf(16, 2, scaling);
    for (const length of [1, 15, 16]) expect(frequencies(rope, length)).toEqual([1, 0.125]);
    for (const length of [17, 4096]) expect(frequencies(rope, length)).toEqual([0.25, 0.03125]);
    // 4096 is 16^3: sqrt(1 + log 256 / log 16)
    const settings = { ...scaling, rope_theta: 16, rope_type: "longrope", short_factor: [1, 1, 1, 1] } as const;
    const parameters = { ...settings, long_factor: [1, 1, 1, 1], original_max_position_embeddings: 16 };
    const sizes = { headDim: 8, maxPositionEmbeddings: 4096, length: 16 };
    expect(readRope(parameters, sizes).scaling).toMatchObject({ attentionFactor: expect.closeTo(Math.sqrt(3), 14) });
  });
});

/** Pairs and their frequencies, as transformers 5.17 computed them. */
test("yarn as transformers computes it, for a quarter of a head of 256", () => {
  const settings = {
    rope_type: "yarn",
    rope_theta: 1e7,
    partial_rotary_factor: 0.25,
    factor: 4,
    original_max_position_embeddings: 262144,
  } as const;
  const rope = readRope(settings, { headDim: 256, maxPositionEmbeddings: 262144, length: 10 });
  const frequencies = inverseFrequencies(rope, 10);
  const some = {
    1: 6.042963862e-1,
    14: 8.659643354e-4,
    15: 4.74239816e-4,
    18: 7.217386883e-5,
    21: 8.759770026e-6,
    22: 3.849816039e-6,
    31: 4.137042708e-8,
  };
  expectClose(
    Object.keys(some).map((pair) => frequencies[Number(pair)]!),
    Object.values(some),
    1e-6,
  );
  expect(rope.scaling).toMatchObject({ attentionFactor: expect.closeTo(1.138629436111989, 12) });
});

describe("what is not rotated", () => {
  const identity = (count: number) => Array.from({ length: count }, () => [1, 0]).flat();

  test("pairs past those that rotaryDim has, also where the others have a factor", () => {
    const scaling: RopeScaling = {
      type: "longrope",
      shortFactor: [1, 1],
      longFactor: [1, 1],
      originalMaxPositionEmbeddings: 16,
      attentionFactor: 1.5,
    };
    const rotations = ropeRotations(5, 16, ropeOf(100, 2, scaling));
    for (let position = 0; position < 5; position++) {
      const row = [...rotations.subarray(position * 16, (position + 1) * 16)];
      const angles = [position, Math.fround(position * Math.fround(0.1))];
      const wanted = angles.flatMap((angle) => [
        Math.fround(1.5 * Math.cos(angle)),
        Math.fround(1.5 * Math.sin(angle)),
      ]);
      expect(row.slice(0, 4)).toEqual(wanted);
      expect(row.slice(4)).toEqual(identity(6));
    }
  });

  test("all of a layer without positions", () => {
    expect([...ropeRotations(3, 8)]).toEqual(identity(12));
  });
});

test("an angle is rounded to f32 before its cosine, as in Python", () => {
  const theta = 1e4;
  const rotations = ropeRotations(4001, 64, ropeOf(theta, 32, { type: "default" }));
  for (const i of [1, 7, 20]) {
    const angle = Math.fround(4000 * Math.fround(1 / theta ** ((2 * i) / 64)));
    expect(rotations[(4000 * 32 + i) * 2]).toBe(Math.fround(Math.cos(angle)));
    expect(rotations[(4000 * 32 + i) * 2 + 1]).toBe(Math.fround(Math.sin(angle)));
  }
});
