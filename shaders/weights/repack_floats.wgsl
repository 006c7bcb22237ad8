// Lays a run of a file's rows into a matrix of f32 or f16 (formats/README.md).
//
// weight: [ceil(K / step)][columns] 16-byte steps; the last one is filled up with zeros
// scales: floats have none
//
// One thread a column and step: neighbouring threads write neighbouring columns. A norm's vector is a matrix of one
// column. f32 goes through as bits, so that nothing is flushed.
//
// Constants: VECTORS (vec4 a step: 1 is f32, 2 is f16), WORKGROUP. Needs source.wgsl, a piece with `elementBits`, half.wgsl.

@group(0) @binding(2) var<storage, read_write> weight: array<vec4u>;

fn halves(row: u32, vector: u32) -> vec4u {
  if (vector >= shape.inputVectors) {
    return vec4u(0);
  }
  return toF16(elementBits(row, vector));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = id.x;
  if (row >= shape.rows) {
    return;
  }
  let column = columnOf(row);
  let steps = (shape.inputVectors + VECTORS - 1) / VECTORS;
  for (var step = id.y; step < steps; step += groups.y) {
    let at = step * shape.columns + column;
    if (VECTORS == 1) {
      weight[at] = elementBits(row, step);
    } else {
      weight[at] = halves(row, 2 * step) | (halves(row, 2 * step + 1) << vec4u(16));
    }
  }
}
