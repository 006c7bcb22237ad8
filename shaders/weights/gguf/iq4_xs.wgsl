// IQ4_XS, 136 bytes for 256 elements in groups of 32: f16 scale of the scales, 2 bytes of the scales' upper pairs of bits, 4
// bytes of their lower nibbles, 128 bytes of nibbles, which are places in a codebook.
// element = scale * (groupScale - 32) * level.

fn codesAt(block: u32, vector: u32) -> vec4u {
  return nibblesAt(block + 8 + 16 * (vector / 8), vector % 8);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  let low = (byteAt(block + 4 + group / 2) >> (4 * (group % 2))) & 15;
  let high = (byteAt(block + 2 + group / 4) >> (2 * (group % 4))) & 3;
  return vec2f(halfAt(block) * (f32(low | (high << 4)) - 32.0), 0.0);
}
