// Elements that are stored one by one: f32, f16 or bf16, two 16-bit numbers a word, little endian.
//
// Constants: ELEMENT_F32, ELEMENT_F16, ELEMENT_BF16 (exactly one is 1). Needs source.wgsl and half.wgsl.

// f16 and bf16 widen exactly.
fn elementBits(row: u32, vector: u32) -> vec4u {
  let at = row * shape.inputVectors + vector;
  if (ELEMENT_F32 == 1) {
    return vec4u(source[4 * at], source[4 * at + 1], source[4 * at + 2], source[4 * at + 3]);
  }
  let words = vec2u(source[2 * at], source[2 * at + 1]);
  let halves = vec4u(words.x & 0xffff, words.x >> 16, words.y & 0xffff, words.y >> 16);
  if (ELEMENT_F16 == 1) {
    return fromF16(halves);
  }
  return halves << vec4u(16);
}
