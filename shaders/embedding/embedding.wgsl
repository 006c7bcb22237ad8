// hidden[r] = embedding[token of r]
//
// embedding: [hiddenSize / 4][vocabSize] vec4, the layout of every weight matrix, so that a tied head can share it.
// hidden:    [rows][hiddenSize / 4] vec4, the residual stream.
//
// One thread copies one vec4. The reads of a row are scattered (one vec4 a cache line); a row is a few KB, once a pass.
//
// Constants: WORKGROUP. Needs rows.wgsl.

struct Shape {
  hiddenVectors: u32, // hiddenSize / 4
  vocabSize: u32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> embedding: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> hidden: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let k = id.x;
  if (k >= shape.hiddenVectors || id.y >= range.count) {
    return;
  }
  let row = range.first + id.y;
  // A draft that is no id (NONE, from logits that are no numbers) must not read outside the matrix.
  let token = min(rows[row].token, shape.vocabSize - 1);
  hidden[row * shape.hiddenVectors + k] = embedding[k * shape.vocabSize + token];
}
