// Queries, keys and values as one product, rotated and put where attention reads them.
//
// An output is a pair of elements (i, i + headDim / 2) of a head: what RoPE rotates together (RoFormer, Su et al. 2021,
// equation 34; the halves are paired as in Hugging Face's `rotate_half`). A thread holds both, so rotation and KV cache are
// its epilogue. The weight matrix holds the heads of queries, keys and values side by side; where they are of different
// formats they are several matrices, whose first output is number `resultOffset` of all.
//
// queries:   [rows][heads][headDim]
// keys, values: the layer's cache (kv_write_f32.wgsl, kv_write_f16.wgsl)
// rotations: [position][headDim / 2] (cos, sin), computed on the host: WGSL's sin and cos promise an absolute error of no
//            better than 2^-11, too much to compare with other implementations.
//
// Constants: WIDTH = 2. Needs matmul.wgsl and a kv_write piece.

@group(0) @binding(5) var<storage, read> rows: array<Row>;
@group(0) @binding(6) var<storage, read> rotations: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> queries: array<f32>;

fn firstColumn(output: u32) -> u32 {
  return output / shape.halfDim * shape.halfDim * 2 + output % shape.halfDim;
}

fn finish(row: u32, inSlab: u32, at: u32, x: f32, y: f32) {
  let head = (shape.resultOffset + at) / shape.halfDim;
  let pair = at % shape.halfDim;
  let place = rows[row];
  let rotation = rotations[place.position * shape.halfDim + pair];
  let rotated = vec2f(x * rotation.x - y * rotation.y, y * rotation.x + x * rotation.y);
  if (head < shape.heads) {
    let to = (row * shape.heads + head) * 2 * shape.halfDim + pair;
    queries[to] = rotated.x;
    queries[to + shape.halfDim] = rotated.y;
  } else if (head < shape.heads + shape.kvHeads) {
    writeKey(place.slot * shape.kvHeads + head - shape.heads, pair, rotated);
  } else {
    writeValue(place.slot * shape.kvHeads + head - shape.heads - shape.kvHeads, pair, vec2f(x, y));
  }
}
