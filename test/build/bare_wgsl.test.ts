/** What ships of a shader computes what its file says. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { bareWgsl } from "../../build/bare_wgsl.ts";

const ROOT = join(import.meta.dirname, "../..");
const shaders = readdirSync(join(ROOT, "shaders"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".wgsl"))
  .map((path) => readFileSync(join(ROOT, "shaders", path), "utf8"));

/** The words of a shader, and its marks. */
function words(code: string): string[] {
  const marked = code.replace(/\/\/ unroll[ \t]*\n/g, " UNROLL ");
  return marked.replace(/\/\/.*/g, "").match(/\w+|[^\s\w]/g) ?? [];
}

test("all shaders keep every word and every mark, and lose comments and blanks", () => {
  expect(shaders.length).toBeGreaterThan(80);
  for (const code of shaders) {
    const bare = bareWgsl(code);
    expect(words(`${bare}\n`)).toEqual(words(code));
    expect(bare.replace(/^\/\/ unroll\n/gm, "")).not.toMatch(/\/\/|^\s|\n\s*\n/);
  }
  const count = (codes: readonly string[]) => codes.reduce((sum, code) => sum + code.length, 0);
  expect(count(shaders.map(bareWgsl))).toBeLessThan(0.75 * count(shaders));
});

test("comments of both kinds go, also behind code", () => {
  expect(bareWgsl("// a\nlet x = 1; // b\n  /* c\n d */ let y = x / 2;\n\n  // unroll\n  for (;;) {}\n")).toBe(
    "let x = 1;\nlet y = x / 2;\n// unroll\nfor (;;) {}",
  );
});
