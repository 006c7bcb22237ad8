// Shared: gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))        (Hendrycks and Gimpel 2016, section 2)
//
// With t = sqrt(2 / pi) * (x + 0.044715 x^3) that is x / (1 + exp(-2 t)). So written, since WGSL lets tanh be off by 2^-11,
// and a difference of nearly equal numbers would lose what is left of it where x is negative.

fn activation(x: f32) -> f32 {
  let t = 0.7978845608 * (x + 0.044715 * x * x * x);
  return x / (1.0 + exp(-2.0 * max(t, -40.0)));
}
