import { expect, test } from "vitest";
import { pairwise } from "./pairwise.ts";
import { fullMatrix } from "./slow.ts";

const all = fullMatrix({ a: [1, 2, 3], b: ["x", "y"], c: [null, undefined, true, false] });

test("every two values of different dimensions meet, in far fewer cases than there are", () => {
  const few = pairwise(all);
  expect(few.length).toBeLessThan(all.length / 1.5);
  for (const { a, b, c } of all) {
    expect(few.some((one) => one.a === a && one.b === b)).toBe(true);
    expect(few.some((one) => one.a === a && one.c === c)).toBe(true);
    expect(few.some((one) => one.b === b && one.c === c)).toBe(true);
  }
});

test("pairs that no case holds are not asked for", () => {
  const some = all.filter(({ a, b }) => a !== 2 || b === "x");
  const few = pairwise(some);
  expect(few.every((one) => some.includes(one))).toBe(true);
  expect(few.some(({ a, b }) => a === 1 && b === "y")).toBe(true);
});

test("what is no dimension asks for nothing", () => {
  expect(pairwise(all, ({ b }) => ({ b, always: 0 }))).toHaveLength(2);
});
