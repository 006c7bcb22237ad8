// Shared: silu(x) = x / (1 + exp(-x))        (Ramachandran et al. 2017, section 3.2)
//
// exp must not overflow: WGSL leaves open what comes of an infinity. Past the clamp silu is 0 but for its sign.

fn activation(x: f32) -> f32 {
  return x / (1.0 + exp(min(-x, 80.0)));
}
