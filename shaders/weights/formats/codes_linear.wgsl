// Codes that are numbers: the code less CODE_OFFSET (8 for symmetric 4-bit codes, 0 with a minimum).
//
// Constants: CODE_OFFSET.

fn fromCodes(codes: vec4u) -> vec4f {
  return vec4f(codes) - f32(CODE_OFFSET);
}
