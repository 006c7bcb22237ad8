// Shared: vec4 number i of a step of floats.
//
// Needs f32.wgsl or f16.wgsl.

fn element(step: u32, i: u32, column: u32) -> vec4f {
  return codeVector(weight[step * shape.columns + column], i);
}
