// output[r][n] += dot(weight[n], input[r])
//
// For the projections that end a block: the residual addition is the epilogue, so the product never goes through memory.
//
// Constants: COLUMNS = 1. Needs columns.wgsl.

fn finish(at: u32, product: f32, _same: f32) {
  output[at] += product;
}
