/** WGSL as it ships: without comments and indentation, which are for readers of `shaders/`, and two fifths of the library. */

/** The mark that src/gpu/unroll.ts looks for. */
const MARK = /^\/\/ unroll$/;

/** The same code on fewer characters. WGSL has no strings that a comment's beginning could stand in. */
export function bareWgsl(code: string): string {
  return code
    .replace(/\/\*.*?\*\//gs, " ")
    .split("\n")
    .map((line) => line.trim())
    .map((line) => (MARK.test(line) ? line : line.replace(/\/\/.*/, "").trimEnd()))
    .filter((line) => line !== "")
    .join("\n");
}
