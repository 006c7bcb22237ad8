// Q6_K, 210 bytes for 256 elements in groups of 16: 128 bytes of lower nibbles, 64 bytes of upper pairs of bits, 16 int8
// scales, f16 scale of the scales. element = scale * groupScale * (code - 32).
//
// In each half of 128 elements: byte l of 64 bytes of nibbles holds element l (low) and 64 + l (high); bits 2q, 2q + 1 of byte
// l of 32 bytes of pairs are element 32 q + l.

// The code less 32, as int8.
fn codesAt(block: u32, vector: u32) -> vec4u {
  let half = vector / 32;
  let within = vector % 32;
  let low = bytesOf(wordAt(block + 64 * half + 4 * (within % 16)) >> (4 * (within / 16))) & vec4u(15);
  let high = bytesOf(wordAt(block + 128 + 32 * half + 4 * (within % 8)) >> (2 * (within / 8))) & vec4u(3);
  return ((low | (high << vec4u(4))) - vec4u(32)) & vec4u(255);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  let nested = bitcast<i32>(byteAt(block + 192 + group) << 24) >> 24;
  return vec2f(halfAt(block + 208) * f32(nested), 0.0);
}
