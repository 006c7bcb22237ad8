/** Marked loops are written out, others are left alone, and what cannot be unrolled says why. */

import { describe, expect, test } from "vitest";
import { unroll } from "../../src/gpu/unroll.ts";

const squeeze = (code: string) => code.replace(/\s+/g, " ").trim();

describe("unroll", () => {
  test("writes a marked loop out with a constant index", () => {
    const code = `a;
      // unroll
      for (var r = 0u; r < M; r++) {
        if (x) { sums[r] += 1; }
      }
      b;`;
    expect(squeeze(unroll(code, { M: 2 }))).toBe(
      "a; { const r = 0u; if (x) { sums[r] += 1; } } { const r = 1u; if (x) { sums[r] += 1; } } b;",
    );
  });

  test("writes inner loops out too, and several in a row", () => {
    const loop = (index: string, bound: string, body: string) =>
      `// unroll\nfor (var ${index} = 0u; ${index} < ${bound}; ${index}++) {${body}}`;
    const code = loop("i", "M", loop("j", "2u", "s[i][j];")) + loop("k", "N", "t[k];");
    const text = squeeze(unroll(code, { M: 2, N: 3 }));
    expect(text.match(/s\[i\]\[j\];/g)?.length).toBe(4);
    expect(text.match(/t\[k\];/g)?.length).toBe(3);
    expect(text).not.toContain("for");
  });

  test("leaves loops alone that are not marked", () => {
    const code = "for (var r = 0u; r < M; r++) { x; }";
    expect(unroll(code, { M: 2 })).toBe(code);
  });

  test("a loop over nothing disappears", () => {
    expect(unroll("// unroll\nfor (var r = 0u; r < M; r++) { x; }", { M: 0 }).trim()).toBe("");
  });

  test.each([
    "// unroll\nfor (var r = 1u; r < M; r++) { x; }",
    "// unroll\nfor (var r = 0u; r < 2u * M; r++) { x; }",
    "// unroll\nx;\n// unroll\nfor (var r = 0u; r < M; r++) { x; }",
  ])("refuses a mark before anything else", (code) => {
    expect(() => unroll(code, { M: 2 })).toThrow(/stands before a loop of another form/);
  });

  test("names the bound that is no constant", () => {
    const code = "// unroll\nfor (var r = 0u; r < rows; r++) { x; }";
    expect(() => unroll(code, { M: 2 })).toThrow(/its bound rows is no constant/);
  });
});
