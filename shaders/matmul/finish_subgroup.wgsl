// Shared: the slices of an output are SLICES neighbouring lanes of a subgroup, which add their sums up by a butterfly.
//
// SLICES is a power of two and divides every subgroup size the device may choose, so an output's lanes are never in two
// subgroups. The order of the additions is that of the butterfly, whatever the subgroup's size. No barrier. Slice r %
// FINISHERS finishes row r.
//
// Constants: M, COLUMNS, SLICES, FINISHERS. Needs few_rows.wgsl.

fn finishRows(sums: ptr<function, array<f32, COLUMNS * M>>, output: u32, firstRow: u32, thread: u32) {
  // unroll
  for (var c = 0u; c < COLUMNS; c++) {
    // unroll
    for (var r = 0u; r < M; r++) {
      var sum = sums[c * M + r];
      for (var distance = 1u; distance < SLICES; distance *= 2) {
        sum += subgroupShuffleXor(sum, distance);
      }
      sums[c * M + r] = sum;
    }
  }
  if (output >= shape.spread) {
    return;
  }
  for (var r = 0u; r < M; r++) {
    if (finishes(r, thread)) {
      finishRow(sums, output, firstRow, r);
    }
  }
}

// Whether this thread is the one that finishes row r of its outputs.
fn finishes(r: u32, thread: u32) -> bool {
  return thread % SLICES == r % FINISHERS;
}
