// Floats have no scales: an element is what its code says.

const MINIMUM = 0u;

fn scaleOf(step: u32, group: u32, column: u32, columns: u32) -> vec2f {
  return vec2f(1.0, 0.0);
}
