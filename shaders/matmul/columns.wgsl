// Shared: the entry point of the forms that write a number for each output column.
//
// One thread an output column and a slab of M rows; see dot_rows.wgsl for layout and order. What becomes of a product is
// the form's own function:
//
//     fn finish(at: u32, first: f32, last: f32)
//
// at: place in output[row][columns]; first, last: the row's sums for the thread's first and last weight column (the same
// one where COLUMNS is 1).
//
// Constants: M, COLUMNS, WORKGROUP. Needs rows.wgsl and dot_rows.wgsl.

@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let column = id.x;
  let firstRow = id.y * M;
  if (column >= shape.columns || firstRow >= range.count) {
    return;
  }
  let sums = dotRows(column, firstRow);
  // unroll
  for (var r = 0u; r < M; r++) {
    if (firstRow + r < range.count) {
      finish((range.first + firstRow + r) * shape.columns + column, sums[r], sums[(COLUMNS - 1) * M + r]);
    }
  }
}
