// Weight format: f16, eight elements of a column a step.
//
// weight: [ceil(K / 8)][columns] vec4u. Word j holds elements j (low half) and 4 + j (high half) of the step, so that
// vec4 number i is half i of the four words.
//
// unpack2x16float is core WGSL: no shader-f16 needed.

alias Codes = vec4u;

fn codeVector(codes: Codes, i: u32) -> vec4f {
  let halves = codes >> vec4u(16 * i);
  return vec4f(
    unpack2x16float(halves.x).x,
    unpack2x16float(halves.y).x,
    unpack2x16float(halves.z).x,
    unpack2x16float(halves.w).x,
  );
}
