// output[r][n] = dot(weight[n], input[r])
//
// For QKV as one matrix, and for logits.
//
// Constants: COLUMNS = 1. Needs columns.wgsl.

fn finish(at: u32, product: f32, _same: f32) {
  output[at] = product;
}
