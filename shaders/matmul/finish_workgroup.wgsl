// Shared: the slices of an output are SLICES neighbouring threads, which add their sums up through workgroup memory.
//
// FINISHERS rows at a time, to stay small whatever M is; slice r % FINISHERS adds the slices of row r in ascending order
// and finishes it.
//
// Constants: M, COLUMNS, SLICES, FINISHERS <= SLICES, WORKGROUP. Needs few_rows.wgsl.

var<workgroup> partials: array<f32, COLUMNS * FINISHERS * WORKGROUP>;

fn finishRows(sums: ptr<function, array<f32, COLUMNS * M>>, output: u32, firstRow: u32, thread: u32) {
  let firstThread = thread - thread % SLICES;
  // unroll
  for (var batch = 0u; batch < BATCHES; batch++) {
    // unroll
    for (var f = 0u; f < FINISHERS; f++) {
      const r = batch * FINISHERS + f;
      if (r < M) {
        // unroll
        for (var c = 0u; c < COLUMNS; c++) {
          partials[(c * FINISHERS + f) * WORKGROUP + thread] = sums[c * M + min(r, M - 1)];
        }
      }
    }
    workgroupBarrier();
    // unroll
    for (var f = 0u; f < FINISHERS; f++) {
      const r = batch * FINISHERS + f;
      if (r < M && thread % SLICES == f && output < shape.spread) {
        // unroll
        for (var c = 0u; c < COLUMNS; c++) {
          var sum = 0.0;
          for (var s = 0u; s < SLICES; s++) {
            sum += partials[(c * FINISHERS + f) * WORKGROUP + firstThread + s];
          }
          sums[c * M + min(r, M - 1)] = sum;
        }
        finishRow(sums, output, firstRow, r);
      }
    }
    workgroupBarrier();
  }
}

// Whether this thread is the one that finishes row r of its outputs.
fn finishes(r: u32, thread: u32) -> bool {
  return thread % SLICES == r % FINISHERS;
}
