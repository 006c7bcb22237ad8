// A run of a matrix's rows as a file stores them, and where they land.
//
// source: the rows one after the other, without gaps, from row firstRow of the tensor on; row 0 of the tensor becomes column
// firstColumn of the matrix, and row n column firstColumn + n, but for rows of heads that another order is wanted in
// (src/model/head_order.ts). What a row is made of, another piece says: it declares `elementBits(row, vector)`, elements 4 * vector .. 4 * vector + 3 of a row as the bits
// of f32 (source_floats.wgsl, gguf/elements.wgsl). K is a multiple of 4.

struct Shape {
  rows: u32,
  inputVectors: u32, // K / 4
  firstColumn: u32,
  columns: u32, // of the whole matrix
  firstRow: u32,
  headDim: u32, // 0: rows stay in their order
  rotaryDim: u32,
  interleaved: u32, // 1: the elements that are rotated together are neighbours
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> source: array<u32>;

// The column that a row becomes.
fn columnOf(row: u32) -> u32 {
  let n = shape.firstRow + row;
  if (shape.headDim == 0) {
    return shape.firstColumn + n;
  }
  return shape.firstColumn + n - n % shape.headDim + headPlace(n % shape.headDim);
}

// The place of an element in a head whose pairs are half a head apart: the rotated pairs first in both halves.
fn headPlace(element: u32) -> u32 {
  let half = shape.headDim / 2;
  let pairs = shape.rotaryDim / 2;
  if (element >= shape.rotaryDim) {
    let rest = element - shape.rotaryDim;
    let inFirst = half - pairs;
    return select(half + rest - inFirst, rest, rest < inFirst) + pairs;
  }
  if (shape.interleaved == 1) {
    return element % 2 * half + element / 2;
  }
  return element / pairs * half + element % pairs;
}
