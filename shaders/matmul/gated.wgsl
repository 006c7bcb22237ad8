// output[r][n] = silu(dot(gate[n], input[r])) * dot(up[n], input[r])       (SwiGLU: Shazeer 2020, equation 6)
//
// The weight matrix holds gate and up side by side, [K / 4][2 * intermediateSize]: a thread takes a column of each, so the
// input is read once and neither product goes through memory.
//
// Constants: COLUMNS = 2. Needs columns.wgsl.

fn silu(x: f32) -> f32 {
  return x / (1.0 + exp(-x));
}

fn finish(at: u32, gate: f32, up: f32) {
  output[at] = silu(gate) * up;
}
