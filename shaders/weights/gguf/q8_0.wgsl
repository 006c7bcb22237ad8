// Q8_0, 34 bytes for 32 elements: f16 scale, 32 int8. element = scale * code.

fn codesAt(block: u32, vector: u32) -> vec4u {
  return bytesOf(wordAt(block + 2 + 4 * vector));
}

fn scalesAt(block: u32, group: u32) -> vec2f {
  return vec2f(halfAt(block), 0.0);
}
