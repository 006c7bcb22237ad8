// output[r][n] = activation(gate) * up       (SwiGLU, GEGLU: Shazeer 2020, equation 6)
//
// The weight matrix holds gate and up side by side, `partner` columns apart: a thread takes a column of each, so the input
// is read once and neither product goes through memory. Gate and up too large for one binding are several matrices, each a
// run of both: its outputs begin at resultOffset of a row.
//
// Constants: WIDTH = 2. Needs matmul.wgsl and silu.wgsl or gelu_tanh.wgsl.

@group(0) @binding(5) var<storage, read_write> output: array<f32>;

fn firstColumn(output: u32) -> u32 {
  return output;
}

fn finish(row: u32, inSlab: u32, at: u32, gate: f32, up: f32) {
  output[row * shape.resultStride + shape.resultOffset + at] = activation(gate) * up;
}
