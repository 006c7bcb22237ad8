// A run of a matrix's rows as a file stores them, and where they land.
//
// source: the rows one after the other, without gaps; row n becomes column firstColumn + n of the matrix. What a row is made
// of, another piece says: it declares `elementBits(row, vector)`, elements 4 * vector .. 4 * vector + 3 of a row as the bits
// of f32 (source_floats.wgsl, gguf/elements.wgsl). K is a multiple of 4.

struct Shape {
  rows: u32,
  inputVectors: u32, // K / 4
  firstColumn: u32,
  columns: u32, // of the whole matrix
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> source: array<u32>;

// The column that a row becomes.
fn columnOf(row: u32) -> u32 {
  return shape.firstColumn + row;
}
