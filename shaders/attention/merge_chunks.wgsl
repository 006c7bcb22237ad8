// Attention of a few rows over the KV cache, second stage: the chunks of a (row, head) become its output.
//
// partialSums, partialSoftmax: as few_queries_threads.wgsl or few_queries_workgroup.wgsl left them
// attended: [rows][attendedStride] vec4, head after head
//
// Chunks are merged in ascending order, from the one with the first key that the row sees to the one with its own, in plain
// decoding and in any pass alike. Others were not computed and are not read. One thread a vec4 of the output; each repeats
// the few exponentials rather than wait at a barrier for them.
//
// Constants: HEAD_VECTORS (headDim / 4), KEYS_PER_CHUNK, WORKGROUP. Needs rows.wgsl and visible_keys.wgsl.

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
  let row = range.first + id.y;
  let position = rows[row].position;
  let base = (row * shape.heads + head) * shape.maxChunks;

  var largest = LOWEST;
  var exponentials = 0.0;
  var sum = vec4f();
  for (var chunk = firstVisible(position) / KEYS_PER_CHUNK; chunk <= position / KEYS_PER_CHUNK; chunk++) {
    let softmax = partialSoftmax[base + chunk];
    let newLargest = max(largest, softmax.x);
    let shrink = exp(largest - newLargest);
    let weight = exp(softmax.x - newLargest);
    largest = newLargest;
    exponentials = exponentials * shrink + softmax.y * weight;
    sum = sum * shrink + partialSums[(base + chunk) * HEAD_VECTORS + i] * weight;
  }
  attended[row * shape.attendedStride + head * HEAD_VECTORS + i] = sum / exponentials;
}
