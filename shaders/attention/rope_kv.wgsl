// Rotary position embedding of queries and keys, and the row's keys and values into the KV cache.
//
// (x[i], x[i + headDim / 2]) is rotated by the angle of (position, i)       (RoFormer, Su et al. 2021, equation 34; the
// halves are paired as in Hugging Face's `rotate_half`)
//
// qkv:       [rows][(heads + 2 * kvHeads) * headDim], queries, keys and values of a row side by side. Queries are rotated
//            in place.
// keys, values: [slot][kvHeads][headDim], the layer's cache.
// rotations: [position][headDim / 2] (cos, sin), computed on the host: WGSL's sin and cos promise an absolute error of no
//            better than 2^-11, too much to compare with other implementations.
//
// One thread a pair of elements of one head: heads * headDim / 2 pairs of queries, then of keys, then of values.
//
// Constants: WORKGROUP. Needs rows.wgsl.

struct Shape {
  heads: u32,
  kvHeads: u32,
  halfDim: u32, // headDim / 2
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> rotations: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(5) var<storage, read_write> keys: array<f32>;
@group(0) @binding(6) var<storage, read_write> values: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let heads = shape.heads + 2 * shape.kvHeads;
  let head = id.x / shape.halfDim;
  let pair = id.x % shape.halfDim;
  if (head >= heads || id.y >= range.count) {
    return;
  }
  let rowNumber = range.first + id.y;
  let row = rows[rowNumber];
  let at = (rowNumber * heads + head) * 2 * shape.halfDim + pair;
  let x = vec2f(qkv[at], qkv[at + shape.halfDim]);
  let rotation = rotations[row.position * shape.halfDim + pair];
  let rotated = vec2f(x.x * rotation.x - x.y * rotation.y, x.y * rotation.x + x.x * rotation.y);

  if (head < shape.heads) {
    qkv[at] = rotated.x;
    qkv[at + shape.halfDim] = rotated.y;
    return;
  }
  let kvHead = (head - shape.heads) % shape.kvHeads;
  let cached = (row.slot * shape.kvHeads + kvHead) * 2 * shape.halfDim + pair;
  if (head < shape.heads + shape.kvHeads) {
    keys[cached] = rotated.x;
    keys[cached + shape.halfDim] = rotated.y;
  } else {
    values[cached] = x.x;
    values[cached + shape.halfDim] = x.y;
  }
}
