// output[r][n] = dot(weight[n], input[r])
//
// One thread an output column and a slab of M rows; see dot_rows.wgsl for layout and order. Used for QKV as one matrix
// and for logits.
//
// Constants: M, COLUMNS = 1, WORKGROUP. Needs rows.wgsl and dot_rows.wgsl.

@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let column = id.x;
  let firstRow = id.y * M;
  if (column >= shape.columns || firstRow >= range.count) {
    return;
  }
  let sums = dotRows(column, firstRow);
  // unroll
  for (var r = 0u; r < M; r++) {
    if (firstRow + r < range.count) {
      output[(range.first + firstRow + r) * shape.columns + column] = sums[r];
    }
  }
}
