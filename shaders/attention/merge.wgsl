// Attention, second stage: the chunks of a (row, head) become its output.
//
// partialSums, partialSoftmax: as chunks.wgsl left them
// attended: [rows][heads][headDim / 4] vec4
//
// Chunks are merged in ascending order up to the row's own position, in plain decoding and in any pass alike. One thread a
// vec4 of the output; each repeats the few exponentials rather than wait at a barrier for them.
//
// Constants: HEAD_VECTORS, KEYS_PER_CHUNK, WORKGROUP. Needs rows.wgsl.

struct Shape {
  heads: u32,
  kvHeads: u32,
  maxChunks: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> partialSums: array<vec4f>;
@group(0) @binding(4) var<storage, read> partialSoftmax: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> attended: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let head = id.x / HEAD_VECTORS;
  let i = id.x % HEAD_VECTORS;
  if (head >= shape.heads || id.y >= range.count) {
    return;
  }
  let rowNumber = range.first + id.y;
  let lastChunk = rows[rowNumber].position / KEYS_PER_CHUNK;
  let base = (rowNumber * shape.heads + head) * shape.maxChunks;

  var largest = -3.4028234e38;
  var exponentials = 0.0;
  var sum = vec4f();
  for (var chunk = 0u; chunk <= lastChunk; chunk++) {
    let softmax = partialSoftmax[base + chunk];
    let newLargest = max(largest, softmax.x);
    let shrink = exp(largest - newLargest);
    let weight = exp(softmax.x - newLargest);
    largest = newLargest;
    exponentials = exponentials * shrink + softmax.y * weight;
    sum = sum * shrink + partialSums[(base + chunk) * HEAD_VECTORS + i] * weight;
  }
  attended[(rowNumber * shape.heads + head) * HEAD_VECTORS + i] = sum / exponentials;
}
