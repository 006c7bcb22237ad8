// output[r][n] = product
//
// For logits, and for whatever has no form of its own.
//
// Constants: WIDTH = 1. Needs matmul.wgsl.

@group(0) @binding(5) var<storage, read_write> output: array<f32>;

fn firstColumn(output: u32) -> u32 {
  return output;
}

fn finish(row: u32, inSlab: u32, at: u32, product: f32, _same: f32) {
  output[row * shape.resultStride + shape.resultOffset + at] = product;
}
