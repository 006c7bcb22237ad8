// Weight format: f32, four elements of a column a step.
//
// weight: [K / 4][columns] vec4f
//
// See README.md beside this file for what every format declares.

alias Codes = vec4f;

fn codeVector(codes: Codes, i: u32) -> vec4f {
  return codes;
}
