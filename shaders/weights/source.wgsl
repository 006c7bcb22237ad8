// A run of a matrix's rows as a checkpoint stores them: f32, f16 or bf16, two 16-bit numbers a word, little endian.
//
// source: [rows][K] row by row; row n becomes column firstColumn + n of the matrix. K is a multiple of 4.
//
// Constants: ELEMENT_F32, ELEMENT_F16, ELEMENT_BF16 (exactly one is 1).

struct Shape {
  rows: u32,
  inputVectors: u32, // K / 4
  firstColumn: u32,
  columns: u32, // of the whole matrix
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> source: array<u32>;

// From the bits: the built-in unpack2x16float may flush subnormals to zero.
fn fromF16(bits: vec4u) -> vec4u {
  let sign = (bits & vec4u(0x8000)) << vec4u(16);
  let exponent = (bits >> vec4u(10)) & vec4u(31);
  let fraction = bits & vec4u(0x3ff);
  let subnormal = bitcast<vec4u>(vec4f(fraction) * 5.9604644775390625e-8); // 2^-24
  // The bias grows from 15 to 127; the largest exponent stays the largest (infinities, NaN).
  let widened = select(exponent + vec4u(112), vec4u(255), exponent == vec4u(31));
  return sign | select((widened << vec4u(23)) | (fraction << vec4u(13)), subnormal, exponent == vec4u(0));
}

// Elements 4 * vector .. 4 * vector + 3 of a row, as the bits of f32: f16 and bf16 widen exactly.
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
