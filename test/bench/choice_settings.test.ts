/** Kernel choices as text. */

import { expect, test } from "vitest";
import { kernelsBetween, parseSettings, settingsText } from "../../bench/kernels/choice_settings.ts";
import type { KernelChoice } from "../../src/kernels/choice.ts";
import { THREAD_VARIANT } from "../../src/kernels/few_row_variant.ts";

const CHOICE: KernelChoice = {
  fewRows: THREAD_VARIANT,
  manyRows: "thread",
  attention: "threads",
  promptAttention: "threads",
  kv: "f32",
};

test("settings are read, and written as they are read", () => {
  const text = "fewRows=workgroup:8+manyRows=tiles+kv=f16";
  expect(parseSettings(text)).toEqual({ fewRows: { kind: "workgroup", slices: 8 }, manyRows: "tiles", kv: "f16" });
  expect(settingsText(parseSettings(text))).toBe(text);
  expect(parseSettings("fewRows=thread")).toEqual({ fewRows: THREAD_VARIANT });
  expect(settingsText(CHOICE)).toBe("fewRows=thread+manyRows=thread+attention=threads+promptAttention=threads+kv=f32");
});

test.each([
  ["", /found nothing, expected one of fewRows=/],
  ["fewRows", /found fewRows, expected/],
  ["rows=1", /found rows=1, expected one of fewRows=/],
  ["fewRows=subgroup", /found fewRows=subgroup, expected fewRows= and one of thread, subgroup:4/],
  ["kv=toString", /found kv=toString, expected kv= and one of f32, f16/],
  ["kv=f32=f16", /found kv=f32=f16, expected/],
])("%s is no setting", (text, message) => {
  expect(() => parseSettings(text)).toThrow(message);
});

test("two choices are compared on the kernels they differ on", () => {
  expect(kernelsBetween(CHOICE, { ...CHOICE })).toEqual(new Set());
  expect(kernelsBetween(CHOICE, { ...CHOICE, attention: "workgroup" })).toEqual(new Set(["attention"]));
  const other: KernelChoice = { ...CHOICE, fewRows: { kind: "workgroup", slices: 4 } };
  expect(kernelsBetween(CHOICE, other)).toEqual(new Set(["qkv", "output", "gated", "down", "head"]));
});
