// output[r][n] = factor * product, or softCap * tanh(factor * product / softCap)
//
// For logits (the soft cap: Gemma 2, section 2), and for whatever has no form of its own.
//
// Constants: WIDTH = 1. Needs matmul.wgsl.

@group(0) @binding(5) var<storage, read_write> output: array<f32>;

fn firstColumn(output: u32) -> u32 {
  return output;
}

fn finish(row: u32, inSlab: u32, at: u32, product: f32, _same: f32) {
  let scaled = product * shape.factor;
  output[row * shape.resultStride + shape.resultOffset + at] = select(scaled, capped(scaled), shape.softCap > 0.0);
}

// WGSL lets tanh be off by 2^-11 of its value; written with exp it is off by a few units of the last place of the cap.
fn capped(x: f32) -> f32 {
  return shape.softCap * (1.0 - 2.0 / (exp(2.0 * min(x / shape.softCap, 40.0)) + 1.0));
}
