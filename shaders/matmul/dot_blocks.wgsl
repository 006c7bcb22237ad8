// Shared: dot products of a thread's weight columns with M rows, weights in block codes.
//
// dotRows(...)[c * M + r]: weight column c times row r, over the steps of one slice in ascending order.
//
// The codes of a block are summed as they are and the sum is scaled: one multiplication a block and row instead of one an
// element. A minimum needs the sum of the block's inputs, once for all columns.
//
// Two vec4 of a block are written out, no more: with all eight a 16-row kernel took SwiftShader five times as long to
// compile and ran no faster.
//
// Constants: M, COLUMNS, SLICES, VECTORS, GROUPS, GROUP_VECTORS. Needs matmul.wgsl, few_rows.wgsl and a weight format.

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
    for (var group = 0u; group < GROUPS; group++) {
      // With their values: SwiftShader was seen to zero a variable once, not each time around the loop.
      var blockSums = array<f32, COLUMNS * M>();
      var inputSums = array<f32, M>();
      for (var pair = 0u; pair < GROUP_VECTORS; pair += 2) {
        // unroll
        for (var v = 0u; v < 2; v++) {
          let i = group * GROUP_VECTORS + pair + v;
          var w: array<vec4f, COLUMNS>;
          // unroll
          for (var c = 0u; c < COLUMNS; c++) {
            w[c] = codeVector(codes[c], i);
          }
          // unroll
          for (var r = 0u; r < M; r++) {
            let x = input[base[r] + step * VECTORS + i];
            if (MINIMUM == 1) {
              inputSums[r] += dot(x, vec4f(1));
            }
            // unroll
            for (var c = 0u; c < COLUMNS; c++) {
              blockSums[c * M + r] += dot(w[c], x);
            }
          }
        }
      }
      // unroll
      for (var c = 0u; c < COLUMNS; c++) {
        let scale = scaleOf(step, group, columns[c], shape.columns);
        // unroll
        for (var r = 0u; r < M; r++) {
          sums[c * M + r] += scale.x * blockSums[c * M + r];
          if (MINIMUM == 1) {
            sums[c * M + r] += scale.y * inputSums[r];
          }
        }
      }
    }
  }
  return sums;
}
