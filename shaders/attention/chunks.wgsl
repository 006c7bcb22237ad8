// Attention of a few rows over the KV cache, first stage: one chunk of keys at a time.
//
// For row r, head h and chunk c: the softmax of the scores of keys [c * KEYS_PER_CHUNK, (c + 1) * KEYS_PER_CHUNK) up to the
// row's own position, kept unnormalised: the largest score, the sum of exponentials, and the weighted sum of values.
// (Online softmax: Milakov and Gimelshein 2018; split over keys as in Flash-Decoding, Dao et al. 2023.)
//
// qkv:          [rows][(heads + 2 * kvHeads) * headDim / 4] vec4, queries rotated
// keys, values: [slot][kvHeads][headDim / 4] vec4
// partialSums:  [rows][heads][maxChunks][headDim / 4] vec4
// partialSoftmax: [rows][heads][maxChunks] (largest score, sum of exponentials)
//
// Chunks are cut at absolute positions, so the sums of a row do not depend on how many rows there are, on the length of the
// cache or on the grid. Keys outside a row's context are never read: they may be anything. A key at a position in flight
// is found through the row's ancestors, which makes a draft tree and a chain the same walk.
//
// One thread a (row, head, chunk), heads fastest: neighbouring threads read the same keys. No barrier.
//
// Constants: HEAD_VECTORS (headDim / 4), KEYS_PER_CHUNK, WORKGROUP, NONE. Needs rows.wgsl.

struct Shape {
  heads: u32,
  kvHeads: u32,
  maxChunks: u32,
  scale: f32, // 1 / sqrt(headDim)
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(4) var<storage, read> keys: array<vec4f>;
@group(0) @binding(5) var<storage, read> values: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> partialSums: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> partialSoftmax: array<vec2f>;

// The slot that holds position `position` of the sequence that `rowNumber` ends.
fn slotOf(rowNumber: u32, position: u32) -> u32 {
  if (position < range.linear) {
    return position;
  }
  var ancestor = rowNumber;
  while (rows[ancestor].position > position && rows[ancestor].parent != NONE) {
    ancestor = rows[ancestor].parent;
  }
  return rows[ancestor].slot;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let head = id.x % shape.heads;
  let rowInRange = id.x / shape.heads;
  let chunk = id.y;
  if (rowInRange >= range.count) {
    return;
  }
  let rowNumber = range.first + rowInRange;
  let position = rows[rowNumber].position;
  let firstKey = chunk * KEYS_PER_CHUNK;
  if (firstKey > position) {
    return;
  }
  let endKey = min(firstKey + KEYS_PER_CHUNK, position + 1);

  var query: array<vec4f, HEAD_VECTORS>;
  let queryAt = (rowNumber * (shape.heads + 2 * shape.kvHeads) + head) * HEAD_VECTORS;
  // unroll
  for (var i = 0u; i < HEAD_VECTORS; i++) {
    query[i] = qkv[queryAt + i] * shape.scale;
  }

  let kvHead = head / (shape.heads / shape.kvHeads);
  var largest = -3.4028234e38;
  var exponentials = 0.0;
  var sums: array<vec4f, HEAD_VECTORS>;
  for (var key = firstKey; key < endKey; key++) {
    let at = (slotOf(rowNumber, key) * shape.kvHeads + kvHead) * HEAD_VECTORS;
    var score = 0.0;
    // unroll
    for (var i = 0u; i < HEAD_VECTORS; i++) {
      score += dot(query[i], keys[at + i]);
    }
    let newLargest = max(largest, score);
    let shrink = exp(largest - newLargest);
    let weight = exp(score - newLargest);
    largest = newLargest;
    exponentials = exponentials * shrink + weight;
    // unroll
    for (var i = 0u; i < HEAD_VECTORS; i++) {
      sums[i] = sums[i] * shrink + weight * values[at + i];
    }
  }

  let partialAt = (rowNumber * shape.heads + head) * shape.maxChunks + chunk;
  partialSoftmax[partialAt] = vec2f(largest, exponentials);
  // unroll
  for (var i = 0u; i < HEAD_VECTORS; i++) {
    partialSums[partialAt * HEAD_VECTORS + i] = sums[i];
  }
}
