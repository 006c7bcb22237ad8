// Shared: what every matmul binds, and the numbers of its shape.
//
// A matmul makes `outputs` numbers of each row. A form (store.wgsl, add.wgsl, gated.wgsl, qkv.wgsl, head_argmax.wgsl) says
// which weight column an output needs (`firstColumn(output)`; WIDTH = 2 where it needs another one, `shape.partner` columns
// on) and what becomes of the products:
//
//     fn finish(row: u32, inSlab: u32, output: u32, first: f32, last: f32)
//
// row: the row's number in the table; inSlab: the same among the M rows at hand; first, last: the products with the
// output's first and last weight column (the same one where WIDTH is 1).
//
// weight, scales: see shaders/weights/formats/README.md
// input: [rows][inputStride] vec4, the elements at inputOffset; zeros past the matrix's K
//
// Constants: WIDTH. Needs rows.wgsl, the pieces of a weight format, and bias.wgsl or bias_none.wgsl.

struct Shape {
  steps: u32,        // steps of a weight column
  columns: u32,      // weight columns
  inputStride: u32,  // vec4 from row to row of the input
  inputOffset: u32,  // vec4 from the row's begin to its elements
  outputs: u32,      // outputs a row
  spread: u32,       // outputs from one of a thread's outputs to its next
  partner: u32,      // columns from an output's first weight column to its second
  resultStride: u32, // elements from row to row of the result
  resultOffset: u32, // the form's own
  normVectors: u32,  // vec4 of the residual stream that the norm is over
  epsilon: f32,
  halfDim: u32,      // headDim / 2
  heads: u32,
  kvHeads: u32,
  firstId: u32,      // id of the first output of a head
  factor: f32,       // of the products: store.wgsl, add.wgsl
  softCap: f32,      // of what is stored; 0 for none
  biasBegin: u32,    // word of `scales` at which the biases begin
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> weight: array<Codes>;
@group(0) @binding(3) var<storage, read> scales: array<u32>;
@group(0) @binding(4) var<storage, read> input: array<vec4f>;
