// Blocks of GGUF into a matrix of the same codes, for ../lay_blocks.wgsl: nothing is computed but products of nested scales.
// An f16 scale comes back to its bits.
//
// Constants: SOURCE_VECTORS (vec4 a block), BLOCK_VECTORS (vec4 a scale serves), SCALE_F16 (1: the matrix has f16 scales).
// Needs bytes.wgsl, ../half.wgsl and the piece of a type.

fn storedBlock(row: u32, first: u32, end: u32) -> vec2u {
  let bits = bitcast<vec2u>(scalesAt(blockAt(row, first), (first % SOURCE_VECTORS) / BLOCK_VECTORS));
  if (SCALE_F16 == 1) {
    return toF16(vec4u(bits, 0, 0)).xy;
  }
  return bits;
}

fn storedCodes(row: u32, vector: u32, stored: vec2u) -> vec4u {
  return codesAt(blockAt(row, vector), vector % SOURCE_VECTORS);
}
