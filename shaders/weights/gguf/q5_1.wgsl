// Q5_1, 24 bytes for 32 elements: f16 scale, f16 minimum, 32 highest bits of codes, 16 bytes of nibbles.
// element = scale * code + minimum.

fn codesAt(block: u32, vector: u32) -> vec4u {
  let high = (vec4u(wordAt(block + 4) >> (4 * vector)) >> vec4u(0, 1, 2, 3)) & vec4u(1);
  return nibblesAt(block + 8, vector) | (high << vec4u(4));
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  return halvesAt(block);
}
