/** Fields of foreign JSON: what is there is checked, and what is wrong is named. */

import { expect, test } from "vitest";
import { FileFormatError } from "../src/errors.ts";
import { Fields } from "../src/json.ts";

const fields = new Fields(
  { inner: { none: null, zero: 0, text: "2", x: 2.5, list: [1, 0.5], wrong: [1, -1] } },
  "f.json",
);
const inner = fields.object("inner")!;

/** The error names file, path and what was found there. */
function expectError(reading: () => unknown, field: string, found: string, expected: string): void {
  expect(reading).toThrow(FileFormatError);
  expect(reading).toThrow(expect.objectContaining({ file: "f.json", field: `inner.${field}`, found, expected }));
}

test("given: a positive number by another name, or nothing", () => {
  expect(inner.given("ours", "x")).toEqual({ ours: 2.5 });
  for (const key of ["none", "absent", "toString"]) expect(inner.given("ours", key)).toStrictEqual({});
  expectError(() => inner.given("ours", "zero"), "zero", "0", "a positive number");
  expectError(() => inner.given("ours", "text"), "text", '"2"', "a positive number");
});

test("positives: an array of positive numbers", () => {
  expect(inner.positives("list")).toEqual([1, 0.5]);
  const expected = "an array of positive numbers";
  expectError(() => inner.positives("wrong"), "wrong", "[1, -1]", expected);
  expectError(() => inner.positives("x"), "x", "2.5", expected);
  expectError(() => inner.positives("none"), "none", "nothing", expected);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, "1", null]) {
    expect(() => new Fields({ list: [1, value] }, "f.json").positives("list")).toThrow(FileFormatError);
  }
});

test("positive: a number above zero, or the fallback where there is none", () => {
  expect(inner.positive("x", 7)).toBe(2.5);
  for (const key of ["none", "absent"]) expect(inner.positive(key, 7)).toBe(7);
  expectError(() => inner.positive("absent"), "absent", "nothing", "a positive number");
  expectError(() => inner.positive("zero", 7), "zero", "0", "a positive number");
});
