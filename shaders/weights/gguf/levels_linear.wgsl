// Codes that are numbers: int8, or unsigned less SOURCE_OFFSET.
//
// Constants: SOURCE_SIGNED (1: int8), SOURCE_OFFSET.

fn levels(codes: vec4u) -> vec4f {
  if (SOURCE_SIGNED == 1) {
    return vec4f(bitcast<vec4i>(codes << vec4u(24)) >> vec4u(24));
  }
  return vec4f(codes) - f32(SOURCE_OFFSET);
}
