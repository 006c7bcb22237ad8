// Bytes of blocks, which begin at any even byte: words are put together from two.
//
// Needs ../source.wgsl and ../half.wgsl.
//
// Constants: SOURCE_VECTORS (vec4 a block), SOURCE_BYTES (bytes a block).

// The first byte of the block that vec4 `vector` of a row lies in.
fn blockAt(row: u32, vector: u32) -> u32 {
  return (row * (shape.inputVectors / SOURCE_VECTORS) + vector / SOURCE_VECTORS) * SOURCE_BYTES;
}

fn byteAt(at: u32) -> u32 {
  return (source[at / 4] >> (8 * (at % 4))) & 255;
}

// Four bytes, the first lowest.
fn wordAt(at: u32) -> u32 {
  let shift = 8 * (at % 4);
  let low = source[at / 4] >> shift;
  if (shift == 0) {
    return low;
  }
  return low | (source[at / 4 + 1] << (32 - shift));
}

// Each byte of a word by itself.
fn bytesOf(word: u32) -> vec4u {
  return (vec4u(word) >> vec4u(0, 8, 16, 24)) & vec4u(255);
}

// The f16 at an even byte.
fn halfAt(at: u32) -> f32 {
  let word = source[at / 4] >> (8 * (at % 4));
  return bitcast<vec4f>(fromF16(vec4u(word & 0xffff, 0, 0, 0))).x;
}

// Two f16, one after the other.
fn halvesAt(at: u32) -> vec2f {
  let word = wordAt(at);
  return bitcast<vec4f>(fromF16(vec4u(word & 0xffff, word >> 16, 0, 0))).xy;
}

// Vec4 `vector` of 32 nibbles in 16 bytes: elements 0 .. 15 are the low ones, 16 .. 31 the high ones.
fn nibblesAt(at: u32, vector: u32) -> vec4u {
  return bytesOf(wordAt(at + 4 * (vector % 4)) >> (4 * (vector / 4))) & vec4u(15);
}
