// Symmetric 8-bit codes as int8: four vec4 of a step from vec4 i on, element j of each in the bytes of word j. They lie
// that way.

fn int8Codes(codes: vec4u, i: u32) -> vec4u {
  return codes;
}
