// Q2_K, 84 bytes for 256 elements in groups of 16: 16 bytes of scale and minimum (low and high nibble of a group's byte), 64
// bytes of codes, f16 scale of the scales, f16 scale of the minima.
// element = scale * groupScale * code - minimumScale * groupMinimum.
//
// 32 bytes of codes hold 128 elements: bits 2q, 2q + 1 of byte l are element 32 q + l.

fn codesAt(block: u32, vector: u32) -> vec4u {
  let word = wordAt(block + 16 + 32 * (vector / 32) + 4 * (vector % 8));
  return bytesOf(word >> (2 * ((vector % 32) / 8))) & vec4u(3);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  let nested = byteAt(block + group);
  let scales = halvesAt(block + 80);
  return vec2f(scales.x * f32(nested & 15), -scales.y * f32(nested >> 4));
}
