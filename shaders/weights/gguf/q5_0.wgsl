// Q5_0, 22 bytes for 32 elements: f16 scale, 32 highest bits of codes, 16 bytes of nibbles. element = scale * (code - 16).
//
// The code less 16, as int8.

fn codesAt(block: u32, vector: u32) -> vec4u {
  let high = (vec4u(wordAt(block + 2) >> (4 * vector)) >> vec4u(0, 1, 2, 3)) & vec4u(1);
  return ((nibblesAt(block + 6, vector) | (high << vec4u(4))) - vec4u(16)) & vec4u(255);
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  return vec2f(halfAt(block), 0.0);
}
