// Shared: silu(x) = x / (1 + exp(-x))        (Ramachandran et al. 2017, section 3.2)

fn activation(x: f32) -> f32 {
  return x / (1.0 + exp(-x));
}
