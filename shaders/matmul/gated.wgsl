// output[r][n] = silu(dot(gate[n], input[r])) * dot(up[n], input[r])       (SwiGLU: Shazeer 2020, equation 6)
//
// The weight matrix holds gate and up side by side, [K / 4][2 * intermediateSize]: a thread takes a column of each, so the
// input is read once and neither product goes through memory. See dot_rows.wgsl for layout and order.
//
// Constants: M, COLUMNS = 2, WORKGROUP. Needs rows.wgsl and dot_rows.wgsl.

@group(0) @binding(4) var<storage, read_write> output: array<f32>;

fn silu(x: f32) -> f32 {
  return x / (1.0 + exp(-x));
}

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
      output[(range.first + firstRow + r) * shape.columns + column] = silu(sums[r]) * sums[M + r];
    }
  }
}
