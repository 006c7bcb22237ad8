// Q4_K, 144 bytes for 256 elements in groups of 32: f16 scale of the scales, f16 scale of the minima, 12 bytes of both
// (scales_6_bits.wgsl), 128 bytes of nibbles. element = scale * groupScale * code - minimumScale * groupMinimum.
//
// 32 bytes hold two groups, the even one in the low nibbles.

fn codesAt(block: u32, vector: u32) -> vec4u {
  let word = wordAt(block + 16 + 32 * (vector / 16) + 4 * (vector % 8));
  return bytesOf(word >> (4 * ((vector / 8) % 2))) & vec4u(15);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  return halvesAt(block) * nestedScales(block + 4, group) * vec2f(1.0, -1.0);
}
