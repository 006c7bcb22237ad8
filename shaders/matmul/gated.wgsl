// output[r][n] = silu(gate) * up       (SwiGLU: Shazeer 2020, equation 6)
//
// The weight matrix holds gate and up side by side, `partner` columns apart: a thread takes a column of each, so the input
// is read once and neither product goes through memory.
//
// Constants: WIDTH = 2. Needs matmul.wgsl.

@group(0) @binding(5) var<storage, read_write> output: array<f32>;

fn firstColumn(output: u32) -> u32 {
  return output;
}

fn silu(x: f32) -> f32 {
  return x / (1.0 + exp(-x));
}

fn finish(row: u32, inSlab: u32, at: u32, gate: f32, up: f32) {
  output[row * shape.resultStride + at] = silu(gate) * up;
}
