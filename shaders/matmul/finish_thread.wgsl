// Shared: sums of one slice are complete; each thread finishes its own.
//
// Constants: M, COLUMNS, SLICES = 1. Needs few_rows.wgsl.

fn finishRows(sums: ptr<function, array<f32, COLUMNS * M>>, output: u32, firstRow: u32, thread: u32) {
  if (output >= shape.spread) {
    return;
  }
  for (var r = 0u; r < M; r++) {
    finishRow(sums, output, firstRow, r);
  }
}

// Whether this thread is the one that finishes row r of its outputs.
fn finishes(r: u32, thread: u32) -> bool {
  return true;
}
