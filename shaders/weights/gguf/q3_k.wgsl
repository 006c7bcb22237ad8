// Q3_K, 110 bytes for 256 elements in groups of 16: 32 bytes of highest bits, 64 bytes of the lower two, 12 bytes of scales,
// f16 scale of the scales. element = scale * (groupScale - 32) * (code - 4).
//
// The lower bits lie as in Q2_K. Bit b of byte l of the highest bits is element 32 b + l. A group's scale has 6 bits: nibbles
// in the first 8 bytes, low ones first, and pairs of bits in the last 4, four groups a pair.

// The code less 4, with 8 added as the format stores it.
fn codesAt(block: u32, vector: u32) -> vec4u {
  let word = wordAt(block + 32 + 32 * (vector / 32) + 4 * (vector % 8));
  let low = bytesOf(word >> (2 * ((vector % 32) / 8))) & vec4u(3);
  let high = bytesOf(wordAt(block + 4 * (vector % 8)) >> (vector / 8)) & vec4u(1);
  return low + (high << vec4u(2)) + vec4u(4);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  let low = (byteAt(block + 96 + group % 8) >> (4 * (group / 8))) & 15;
  let high = (byteAt(block + 104 + group % 4) >> (2 * (group / 4))) & 3;
  return vec2f(halfAt(block + 108) * (f32(low | (high << 4)) - 32.0), 0.0);
}
