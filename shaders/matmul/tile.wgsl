// Shared: a tile of the many-row matmul, M rows by LANES * OUTPUTS outputs, and who in the workgroup owns what of it.
//
// A thread owns ROWS neighbouring rows and OUTPUTS outputs, LANES apart, so that neighbouring threads take neighbouring
// columns: loads of weights, reads of the tile and stores of results are contiguous runs.
//
// A row past the range is a copy of the range's last one and is never stored; an output past the last one is a copy of
// that. So no loop has a branch for them, and nothing is read out of range.
//
// Constants: M, ROWS, OUTPUTS, WIDTH, COLUMNS = OUTPUTS * WIDTH, LANES, TILE_COLUMNS = LANES * COLUMNS. Needs matmul.wgsl.

// Where row r of the tile begins in the input.
fn rowBase(firstRow: u32, r: u32) -> u32 {
  return (range.first + min(firstRow + r, range.count - 1)) * shape.inputStride + shape.inputOffset;
}

// The weight column that stands at a place of the tile. Place c * LANES + lane is weight column c of a lane: the first or
// the last one of its output c / WIDTH.
fn columnAt(firstOutput: u32, place: u32) -> u32 {
  let c = place / LANES;
  let output = min(firstOutput + c / WIDTH * LANES + place % LANES, shape.outputs - 1);
  return firstColumn(output) + c % WIDTH * shape.partner;
}

// Hands a thread's sums, sums[r * COLUMNS + c], to the form.
fn finishTile(sums: ptr<function, array<f32, ROWS * COLUMNS>>, firstRow: u32, firstOutput: u32, thread: u32) {
  let ownRow = thread / LANES * ROWS;
  // unroll
  for (var r = 0u; r < ROWS; r++) {
    if (firstRow + ownRow + r < range.count) {
      let norm = normOf(ownRow + r);
      // unroll
      for (var p = 0u; p < OUTPUTS; p++) {
        let at = firstOutput + p * LANES + thread % LANES;
        if (at < shape.outputs) {
          let first = sums[r * COLUMNS + p * WIDTH] * norm;
          let last = sums[r * COLUMNS + p * WIDTH + WIDTH - 1] * norm;
          let column = firstColumn(at);
          let row = range.first + firstRow + ownRow + r;
          finish(row, ownRow + r, at, biased(first, column), biased(last, column + shape.partner));
        }
      }
    }
  }
}
