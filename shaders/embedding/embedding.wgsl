// stream[r] = embedding[token of r], and the same times the weight of the first layer's norm
//
// weight, scales: the embedding in the layout of every weight matrix, a column an id, so that a tied head can share it
//                 (shaders/weights/formats/README.md). An embedding too large for one binding is several matrices, each of
//                 the ids [firstId, firstId + columns); a dispatch leaves the rows of other ids alone.
// stream:         [rows][2 * half] vec4, the residual stream as shaders/matmul/add.wgsl keeps it
// normWeight:     [vectors] vec4
//
// One thread a vec4. The reads of a row are scattered (one step a cache line); a row is a few KB, once a pass.
//
// Constants: VECTORS, WORKGROUP. Needs rows.wgsl, the pieces of a weight format and element_floats.wgsl
// or element_blocks.wgsl.

struct Shape {
  vectors: u32, // hiddenSize / 4
  half: u32,    // vec4 of a padded row
  columns: u32,
  firstId: u32,
  vocabSize: u32,
  embeddingScale: f32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> weight: array<Codes>;
@group(0) @binding(4) var<storage, read> scales: array<u32>;
@group(0) @binding(5) var<storage, read> normWeight: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> stream: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let k = id.x;
  if (k >= shape.vectors || id.y >= range.count) {
    return;
  }
  let row = range.first + id.y;
  // A draft that is no id (NONE, from logits that are no numbers) must not read outside the matrix.
  let column = min(rows[row].token, shape.vocabSize - 1) - shape.firstId;
  if (column >= shape.columns) { // also of ids below firstId, which wrap around
    return;
  }
  let step = k / VECTORS;
  let x = element(step, k % VECTORS, column) * shape.embeddingScale;
  stream[row * 2 * shape.half + k] = x;
  stream[(row * 2 + 1) * shape.half + k] = x * normWeight[k];
}
