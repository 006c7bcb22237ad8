// Shared: gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))        (Hendrycks and Gimpel 2016, section 2)
//
// Written with exp, x * (1 - 1 / (exp(2 t) + 1)): WGSL lets tanh be off by 2^-11 where x is large, and by more where its
// exponentials overflow.

fn activation(x: f32) -> f32 {
  let t = 0.7978845608 * (x + 0.044715 * x * x * x);
  return x * (1.0 - 1.0 / (exp(2.0 * min(t, 40.0)) + 1.0));
}
