// Shared: vec4 number i of a step of block codes, scaled.
//
// Constants: GROUP_VECTORS. Needs the pieces of a block format.

fn element(step: u32, i: u32, column: u32) -> vec4f {
  let scale = scaleOf(step, i / GROUP_VECTORS, column, shape.columns);
  return codeVector(weight[step * shape.columns + column], i) * scale.x + scale.y;
}
