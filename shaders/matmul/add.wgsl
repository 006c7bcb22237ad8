// stream[r][n] += factor * product: the projection that ends a block, the residual addition its epilogue
//
// stream: [rows][resultStride]: the residual stream, and from resultOffset on the same times the weight of the norm that
// comes next. That product is all the next matmul needs to begin (norm_scale.wgsl), so the norm is no pass of its own.
// normWeight: [n]
//
// Constants: WIDTH = 1. Needs matmul.wgsl.

@group(0) @binding(5) var<storage, read> normWeight: array<f32>;
@group(0) @binding(6) var<storage, read_write> stream: array<f32>;

fn firstColumn(output: u32) -> u32 {
  return output;
}

fn finish(row: u32, inSlab: u32, at: u32, product: f32, _same: f32) {
  let place = row * shape.resultStride + at;
  let sum = stream[place] + product * shape.factor;
  stream[place] = sum;
  stream[place + shape.resultOffset] = sum * normWeight[at];
}
