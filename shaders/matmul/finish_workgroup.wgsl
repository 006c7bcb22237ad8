// Shared: the slices of an output are SLICES neighbouring threads, which add their sums up through workgroup memory.
//
// FINISHERS rows at a time, to stay small whatever M is; slice r % FINISHERS adds the slices of row r in ascending order
// and finishes it.
//
// Constants: M, COLUMNS, SLICES, FINISHERS <= SLICES, WORKGROUP. Needs few_rows.wgsl.

var<workgroup> partials: array<f32, COLUMNS * FINISHERS * WORKGROUP>;

fn finishRows(sums: ptr<function, array<f32, COLUMNS * M>>, output: u32, firstRow: u32, thread: u32) {
  let slice = thread % SLICES;
  for (var batch = 0u; batch < M; batch += FINISHERS) {
    for (var r = batch; r < min(batch + FINISHERS, M); r++) {
      for (var c = 0u; c < COLUMNS; c++) {
        partials[(c * FINISHERS + r - batch) * WORKGROUP + thread] = sums[c * M + r];
      }
    }
    workgroupBarrier();
    let r = batch + slice;
    if (slice < FINISHERS && r < M && output < shape.spread) {
      for (var c = 0u; c < COLUMNS; c++) {
        var sum = 0.0;
        for (var s = 0u; s < SLICES; s++) {
          sum += partials[(c * FINISHERS + slice) * WORKGROUP + thread - slice + s];
        }
        sums[c * M + r] = sum;
      }
      finishRow(sums, output, firstRow, r);
    }
    workgroupBarrier();
  }
}

// Whether this thread is the one that finishes row r of its outputs.
fn finishes(r: u32, thread: u32) -> bool {
  return thread % SLICES == r % FINISHERS;
}
