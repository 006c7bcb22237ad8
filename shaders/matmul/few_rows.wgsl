// The few-row matmul: M rows times a weight matrix, the weights read once for all of them.
//
// A thread owns OUTPUTS outputs, `spread` apart, so that neighbouring threads read neighbouring columns, and the sums of
// its COLUMNS = OUTPUTS * WIDTH weight columns with M rows stay in registers. Why several columns a thread: each vec4 of the
// input is then loaded once for all of them. Loads of the input, not of the weights, are what a few rows cost (SwiftShader:
// four columns a thread take 0.4 of the time of one).
//
// SLICES threads share an output and take every SLICES-th step, where a device needs more threads than there are outputs;
// with one slice there is no barrier. A row's sums are added up in an order that depends on SLICES and on nothing else:
// row r of M has the bits of the row alone. (A slab's idle rows are copies of its last row, never stored: skipping them by
// a branch was slower.)
//
// The order of it all: what a form begins with (norm_scale.wgsl, begin_none.wgsl), dot products (dot_floats.wgsl or
// dot_blocks.wgsl), the slices' sums put together and handed to the form (finish_*.wgsl), what a
// form ends with (complete_none.wgsl, head_argmax.wgsl).
//
// Constants: M, OUTPUTS, WIDTH, COLUMNS, SLICES, WORKGROUP. Needs matmul.wgsl, a form, and the pieces named.

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let firstRow = group.y * M;
  if (firstRow >= range.count) {
    return;
  }
  begin(firstRow, thread);

  let output = group.x * (WORKGROUP / SLICES) + thread / SLICES;
  var sums: array<f32, COLUMNS * M>;
  if (output < shape.spread) {
    sums = dotRows(output, thread % SLICES, firstRow);
  }
  finishRows(&sums, output, firstRow, thread);
  complete(firstRow, thread, group.x);
}

// Where row r of a slab begins in the input. Rows past the range are copies of its last one.
fn rowBase(firstRow: u32, r: u32) -> u32 {
  return (range.first + min(firstRow + r, range.count - 1)) * shape.inputStride + shape.inputOffset;
}

// The weight columns of a thread's outputs: of output p, its first and its last one.
fn columnsOf(output: u32) -> array<u32, COLUMNS> {
  var columns: array<u32, COLUMNS>;
  // unroll
  for (var p = 0u; p < OUTPUTS; p++) {
    let first = firstColumn(min(output + p * shape.spread, shape.outputs - 1));
    columns[p * WIDTH] = first;
    columns[p * WIDTH + WIDTH - 1] = first + shape.partner;
  }
  return columns;
}

// Hands a row's sums to the form. No loop of the epilogue is written out: M times the form's code takes long to compile.
fn finishRow(sums: ptr<function, array<f32, COLUMNS * M>>, output: u32, firstRow: u32, r: u32) {
  if (firstRow + r >= range.count) {
    return;
  }
  let norm = normOf(r);
  for (var p = 0u; p < OUTPUTS; p++) {
    let at = output + p * shape.spread;
    if (at < shape.outputs) {
      let first = sums[(p * WIDTH) * M + r] * norm;
      let last = sums[(p * WIDTH + WIDTH - 1) * M + r] * norm;
      let column = firstColumn(at);
      finish(range.first + firstRow + r, r, at, biased(first, column), biased(last, column + shape.partner));
    }
  }
}
