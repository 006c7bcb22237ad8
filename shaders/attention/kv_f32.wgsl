// Keys and values in f32, a piece of the attention kernels that kv_f16.wgsl can stand in for.
//
// keys, values: [slot][kvHeads] heads of [headDim / 4] vec4
//
// The kernels take a head in pairs of vec4, number j together with number j + HALF_VECTORS, since that is what one load
// brings in f16. A head is an array of constant size, so its elements need no bounds check each.
//
// Constants: HEAD_VECTORS (headDim / 4), HALF_VECTORS (headDim / 8).

@group(0) @binding(4) var<storage, read> keys: array<array<vec4f, HEAD_VECTORS>>;
@group(0) @binding(5) var<storage, read> values: array<array<vec4f, HEAD_VECTORS>>;

fn keyPair(head: u32, j: u32) -> array<vec4f, 2> {
  return array(keys[head][j], keys[head][j + HALF_VECTORS]);
}

fn valuePair(head: u32, j: u32) -> array<vec4f, 2> {
  return array(values[head][j], values[head][j + HALF_VECTORS]);
}
