// Weight format: 4-bit block codes, 32 elements of a column a step.
//
// weight: [ceil(K / 32)][columns] vec4u. Word j holds elements j, 4 + j, ... 28 + j of the step, lowest nibble first, so
// that vec4 number i is nibble i of the four words: one shift makes four codes.

alias Codes = vec4u;

fn codeVector(codes: Codes, i: u32) -> vec4f {
  return fromCodes((codes >> vec4u(4 * i)) & vec4u(15));
}
