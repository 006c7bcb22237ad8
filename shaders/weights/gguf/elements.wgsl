// Blocks of GGUF as numbers, for what quantises or rounds them (../source.wgsl): scale * level + minimum, in f32.
//
// Constants: SOURCE_VECTORS (vec4 a block), SOURCE_GROUP_VECTORS (vec4 a scale serves). Needs bytes.wgsl, a levels piece and
// the piece of a type.

fn elementBits(row: u32, vector: u32) -> vec4u {
  let block = blockAt(row, vector);
  let place = vector % SOURCE_VECTORS;
  let scale = scalesAt(block, place / SOURCE_GROUP_VECTORS);
  return bitcast<vec4u>(levels(codesAt(block, place)) * scale.x + scale.y);
}
