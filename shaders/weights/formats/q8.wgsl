// Weight format: 8-bit block codes, sixteen elements of a column a step.
//
// weight: [ceil(K / 16)][columns] vec4u. Word j holds elements j, 4 + j, 8 + j and 12 + j of the step, lowest byte first,
// so that vec4 number i is byte i of the four words: one shift makes four codes.
//
// Constants: CODE_SIGNED (1: the byte is an int8, 0: an unsigned code).

alias Codes = vec4u;

fn codeVector(codes: Codes, i: u32) -> vec4f {
  if (CODE_SIGNED == 1) {
    return vec4f(bitcast<vec4i>(codes << vec4u(24 - 8 * i)) >> vec4u(24));
  }
  return fromCodes((codes >> vec4u(8 * i)) & vec4u(255));
}
