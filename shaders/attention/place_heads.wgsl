// Queries and keys normed, rotated and put where attention reads them, the values beside them.
//
// For models that norm queries and keys between the projection and RoPE: what qkv.wgsl does in its epilogue waits for a sum
// over a head (Qwen3, Gemma 3) or over all heads (OLMo 2), so the projection stores its products and this kernel goes on.
//
// projected: [rows][heads + 2 * kvHeads][headDim]
// queryNorm, keyNorm: [headDim], or [heads][headDim] and [kvHeads][headDim] where all heads are normed together
// rotations: [position][headDim / 2] (cos, sin)
// queries:   [rows][heads][headDim]
// keys, values: the layer's cache (kv_write_f32.wgsl, kv_write_f16.wgsl)
//
// One workgroup a row and head. Each thread sums its strided share of the squares; after the only barrier every thread adds
// the shares in the same order. A head's sum depends on its row alone: the same bits whatever the other rows are. Where all
// heads are normed together each workgroup sums the whole row, which is in the cache, rather than wait for another dispatch.
//
// Constants: WORKGROUP. Needs rows.wgsl and a kv_write piece.

struct Shape {
  halfDim: u32, // headDim / 2
  heads: u32,
  kvHeads: u32,
  epsilon: f32,
  together: u32, // 1: all heads are normed together
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> projected: array<f32>;
@group(0) @binding(4) var<storage, read> queryNorm: array<f32>;
@group(0) @binding(5) var<storage, read> keyNorm: array<f32>;
@group(0) @binding(6) var<storage, read> rotations: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> queries: array<f32>;

var<workgroup> shares: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.y >= range.count) {
    return;
  }
  let row = range.first + group.y;
  let place = rows[row];
  let headDim = 2 * shape.halfDim;
  let rowBegin = row * (shape.heads + 2 * shape.kvHeads) * headDim;
  let head = group.x;
  let begin = rowBegin + head * headDim;

  if (head >= shape.heads + shape.kvHeads) {
    let kvHead = place.slot * shape.kvHeads + head - shape.heads - shape.kvHeads;
    for (var pair = thread; pair < shape.halfDim; pair += WORKGROUP) {
      writeValue(kvHead, pair, vec2f(projected[begin + pair], projected[begin + pair + shape.halfDim]));
    }
    return;
  }

  let isQuery = head < shape.heads;
  let firstHead = select(shape.heads, 0, isQuery);
  // What is normed: this head, or all of its kind.
  let normBegin = select(begin, rowBegin + firstHead * headDim, shape.together == 1);
  let normSize = select(headDim, select(shape.kvHeads, shape.heads, isQuery) * headDim, shape.together == 1);
  var share = 0.0;
  for (var k = thread; k < normSize; k += WORKGROUP) {
    let x = projected[normBegin + k];
    share += x * x;
  }
  shares[thread] = share;
  workgroupBarrier();

  var sum = 0.0;
  for (var t = 0u; t < WORKGROUP; t++) {
    sum += shares[t];
  }
  let scale = inverseSqrt(sum / f32(normSize) + shape.epsilon);
  for (var pair = thread; pair < shape.halfDim; pair += WORKGROUP) {
    let at = begin - normBegin + pair;
    var x = vec2f(projected[begin + pair], projected[begin + pair + shape.halfDim]) * scale;
    if (isQuery) {
      x *= vec2f(queryNorm[at], queryNorm[at + shape.halfDim]);
    } else {
      x *= vec2f(keyNorm[at], keyNorm[at + shape.halfDim]);
    }
    let rotation = rotations[place.position * shape.halfDim + pair];
    let rotated = vec2f(x.x * rotation.x - x.y * rotation.y, x.y * rotation.x + x.x * rotation.y);
    if (isQuery) {
      let to = (row * shape.heads + head) * headDim + pair;
      queries[to] = rotated.x;
      queries[to + shape.halfDim] = rotated.y;
    } else {
      writeKey(place.slot * shape.kvHeads + head - shape.heads, pair, rotated);
    }
  }
}
