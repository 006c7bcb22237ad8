// The nested scales and minima of Q4_K and Q5_K: 8 of each with 6 bits, in 12 bytes.
//
// Bytes 0 .. 3 and 4 .. 7 hold scales and minima of groups 0 .. 3 in their lower 6 bits, and the upper 2 bits of those of
// groups 4 .. 7 in the rest. Bytes 8 .. 11 hold the lower 4 bits of these, the scale in the low nibble.

// (scale, minimum) of a group, in units of the block's.
fn nestedScales(at: u32, group: u32) -> vec2f {
  let bytes = vec2u(byteAt(at + group % 4), byteAt(at + 4 + group % 4));
  if (group < 4) {
    return vec2f(bytes & vec2u(63));
  }
  let low = byteAt(at + 4 + group);
  return vec2f(vec2u(low & 15, low >> 4) | ((bytes >> vec2u(6)) << vec2u(4)));
}
