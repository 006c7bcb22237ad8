// target[row][c] = source[row][ids[first + c] - firstColumn] for the ids that stand in this source
//
// Some columns of a matrix as a matrix of their own, in the same format: a column's steps, and its scales, are copied as they
// are (shaders/weights/formats/README.md), so its products have the same bits. The hot ids' head is made so, once a text.
//
// source: [rows][columns] of ELEMENT (vec4u: steps; u32: scales); target: [rows][count]
//
// One thread an element; neighbouring threads write neighbouring columns.
//
// Constants: ELEMENT (a type), WORKGROUP.

struct Shape {
  count: u32,
  columns: u32,
  firstColumn: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> source: array<ELEMENT>;
@group(0) @binding(3) var<storage, read_write> target_: array<ELEMENT>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let c = group.x * WORKGROUP + thread;
  if (c >= shape.count) {
    return;
  }
  let column = ids[c] - shape.firstColumn;
  if (ids[c] >= shape.firstColumn && column < shape.columns) {
    target_[group.y * shape.count + c] = source[group.y * shape.columns + column];
  }
}
