/**
 * Unrolling: loops over a constant are written out before a shader is compiled.
 *
 * A loop that is marked,
 *
 *     // unroll
 *     for (var r = 0u; r < M; r++) {
 *       sums[r] += x;
 *     }
 *
 * becomes M blocks `{ const r = 0u; ... } { const r = 1u; ... }`. The index is then a constant and the array lives in
 * registers. GPU drivers do this themselves; SwiftShader does not, and runs such a kernel at half the speed. The marked
 * file stays plain WGSL, and both forms compute the same.
 */

const MARK = /\/\/ unroll\s*\n/;
const MARKED_LOOP = /\/\/ unroll\s*\n\s*for \(var (\w+) = 0u; \1 < (\w+); \1\+\+\) \{/;

/**
 * `code` with its marked loops written out, inner ones too.
 * @param constants the kernel's; a loop's bound is a whole number or the name of one
 * @throws SyntaxError for a mark before anything else, RangeError for another bound
 */
export function unroll(code: string, constants: Readonly<Record<string, unknown>>): string {
  const match = MARKED_LOOP.exec(code);
  const before = code.slice(0, match?.index);
  if (MARK.test(before)) throw new SyntaxError(`"// unroll" stands before a loop of another form: ${before}`);
  if (!match) return code;
  const [head, index = "", bound = ""] = match;
  const bodyStart = match.index + head.length;
  const bodyEnd = closingBrace(code, bodyStart);
  const count = constants[bound] ?? Number.parseInt(bound, 10);
  if (typeof count !== "number" || !Number.isInteger(count)) {
    throw new RangeError(`a loop over ${index} cannot be unrolled: its bound ${bound} is no constant of the kernel`);
  }
  const body = unroll(code.slice(bodyStart, bodyEnd), constants);
  const blocks = Array.from({ length: count }, (_, i) => `{ const ${index} = ${i}u;${body}}`);
  return before + blocks.join("\n") + unroll(code.slice(bodyEnd + 1), constants);
}

/** Position of the brace that closes the block whose body starts at `from`. */
function closingBrace(code: string, from: number): number {
  let depth = 1;
  for (let i = from; i < code.length; i++) {
    if (code[i] === "{") depth++;
    if (code[i] === "}" && --depth === 0) return i;
  }
  throw new SyntaxError("a loop marked for unrolling has no closing brace");
}
