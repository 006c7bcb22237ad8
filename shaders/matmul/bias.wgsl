// Shared: a bias is added to each product.
//
// The biases of the columns, f32, stand behind the scales: the qkv form binds as many buffers as every device has already.
//
// Needs matmul.wgsl.

fn biased(product: f32, column: u32) -> f32 {
  return product + bitcast<f32>(scales[shape.biasBegin + column]);
}
