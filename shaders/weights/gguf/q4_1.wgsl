// Q4_1, 20 bytes for 32 elements: f16 scale, f16 minimum, 16 bytes of nibbles. element = scale * code + minimum.

fn codesAt(block: u32, vector: u32) -> vec4u {
  return nibblesAt(block + 4, vector);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  return halvesAt(block);
}
