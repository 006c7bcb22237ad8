// Shared: the few-row matmul. Every kernel that multiplies a few rows by a weight matrix is this function and an epilogue.
//
// dotRows(column, firstRow)[c * M + r] = dot(weight column (column + c * shape.columns), input row (firstRow + r))
//
// weight: [K / 4][weightColumns] vec4, one column an output. Neighbouring threads take neighbouring columns, so a step of
//         the loop reads one contiguous run: the weights are streamed once, whatever M is.
// input:  [rows][K / 4] vec4. All threads of a workgroup read the same address: it comes from the cache.
//
// The sums of M rows stay in registers. A row's sum is one loop over K in ascending order, with the same operations for
// every M; no other thread takes part in it. That is what makes row r of M bit-equal to the row alone, without a barrier.
//
// Rows past the range are computed as copies of its last row and never stored, so that M needs no branch in the loop.
//
// Constants: M (rows a thread, the bucket), COLUMNS (weight columns a thread). Needs rows.wgsl.

struct Shape {
  inputVectors: u32,  // K / 4
  columns: u32,       // outputs a row
  weightColumns: u32, // columns of the weight matrix: COLUMNS * columns
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> input: array<vec4f>;

fn dotRows(column: u32, firstRow: u32) -> array<f32, COLUMNS * M> {
  var base: array<u32, M>;
  // unroll
  for (var r = 0u; r < M; r++) {
    base[r] = (range.first + min(firstRow + r, range.count - 1)) * shape.inputVectors;
  }
  var sums: array<f32, COLUMNS * M>;
  for (var k = 0u; k < shape.inputVectors; k++) {
    var w: array<vec4f, COLUMNS>;
    // unroll
    for (var c = 0u; c < COLUMNS; c++) {
      w[c] = weight[k * shape.weightColumns + column + c * shape.columns];
    }
    // unroll
    for (var r = 0u; r < M; r++) {
      let x = input[base[r] + k];
      // unroll
      for (var c = 0u; c < COLUMNS; c++) {
        sums[c * M + r] += dot(w[c], x);
      }
    }
  }
  return sums;
}
