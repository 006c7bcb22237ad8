// Shared: dot products of a thread's weight columns with M rows, weights in f32 or f16.
//
// dotRows(...)[c * M + r]: weight column c times row r, over the steps of one slice in ascending order.
//
// Constants: M, COLUMNS, SLICES, VECTORS. Needs matmul.wgsl, few_rows.wgsl and a weight format.

fn dotRows(output: u32, slice: u32, firstRow: u32) -> array<f32, COLUMNS * M> {
  let columns = columnsOf(output);
  var base: array<u32, M>;
  // unroll
  for (var r = 0u; r < M; r++) {
    base[r] = rowBase(firstRow, r);
  }
  var sums: array<f32, COLUMNS * M>;
  for (var step = slice; step < shape.steps; step += SLICES) {
    var codes: array<Codes, COLUMNS>;
    // unroll
    for (var c = 0u; c < COLUMNS; c++) {
      codes[c] = weight[step * shape.columns + columns[c]];
    }
    // unroll
    for (var i = 0u; i < VECTORS; i++) {
      var w: array<vec4f, COLUMNS>;
      // unroll
      for (var c = 0u; c < COLUMNS; c++) {
        w[c] = codeVector(codes[c], i);
      }
      // unroll
      for (var r = 0u; r < M; r++) {
        let x = input[base[r] + step * VECTORS + i];
        // unroll
        for (var c = 0u; c < COLUMNS; c++) {
          sums[c * M + r] += dot(w[c], x);
        }
      }
    }
  }
  return sums;
}
