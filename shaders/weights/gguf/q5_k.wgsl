// Q5_K, 176 bytes for 256 elements in groups of 32: as Q4_K, with 32 bytes of highest bits before the nibbles.
//
// Bit b of byte l of the highest bits is element l of group b.

fn codesAt(block: u32, vector: u32) -> vec4u {
  let word = wordAt(block + 48 + 32 * (vector / 16) + 4 * (vector % 8));
  let low = bytesOf(word >> (4 * ((vector / 8) % 2))) & vec4u(15);
  let high = bytesOf(wordAt(block + 16 + 4 * (vector % 8)) >> (vector / 8)) & vec4u(1);
  return low | (high << vec4u(4));
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  return halvesAt(block) * nestedScales(block + 4, group) * vec2f(1.0, -1.0);
}
