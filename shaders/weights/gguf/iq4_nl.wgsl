// IQ4_NL, 18 bytes for 32 elements: f16 scale, 16 bytes of nibbles, which are places in a codebook.

fn codesAt(block: u32, vector: u32) -> vec4u {
  return nibblesAt(block + 2, vector);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  return vec2f(halfAt(block), 0.0);
}
