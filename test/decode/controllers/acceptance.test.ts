import { describe, expect, test } from "vitest";
import { Acceptance } from "../../../src/decode/controllers/acceptance.ts";

const EXITS = [1, 2, 3, 4];

function seen(
  rounds: readonly (readonly [exit: number, drafted: number, accepted: number])[],
  prior: number | Record<number, number> = 0.6,
) {
  const acceptance = new Acceptance(5, EXITS, prior);
  for (const [exit, drafted, accepted] of rounds) acceptance.observe(exit, { drafted, accepted });
  return acceptance;
}

function times<T>(count: number, value: T): T[] {
  return new Array<T>(count).fill(value);
}

describe("acceptance", () => {
  test("begins with the prior: a number is the shallowest exit's, and deeper exits refuse less", () => {
    const prior = seen([]);
    expect(EXITS.map((exit) => prior.of(exit))).toEqual([0.6, 0.7, 0.8, 0.9].map((mean) => expect.closeTo(mean, 9)));
    const known = { 1: 0.5, 2: 0.7, 3: 0.75, 4: 0.85 };
    expect(EXITS.map((exit) => seen([], known).of(exit))).toEqual(
      Object.values(known).map((mean) => expect.closeTo(mean, 9)),
    );
  });

  test("follows what is seen: one accepted of two, those behind a refused draft unknown", () => {
    const estimate = seen(times(300, [2, 4, 1] as const));
    expect(estimate.of(2)).toBeCloseTo(0.5, 1);
    expect(estimate.of(2, 1)).toBeGreaterThan(estimate.of(2));
  });

  test("one exit's failures warn of the others", () => {
    const estimate = seen(times(20, [1, 1, 0] as const));
    expect(estimate.of(4)).toBeLessThan(seen([]).of(4) - 0.05);
    expect(estimate.of(1)).toBeLessThan(estimate.of(4));
    expect(seen(times(20, [1, 1, 1] as const)).of(4)).toBeGreaterThan(seen([]).of(4));
  });

  test("leaves out an exit that is no candidate", () => {
    const estimate = seen([...times(50, [2, 2, 2] as const), ...times(50, [5, 0, 0] as const)]);
    for (const exit of EXITS) expect(estimate.of(exit)).toBeGreaterThan(0);
  });
});
