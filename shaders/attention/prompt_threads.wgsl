// Attention of the rows of a prompt over the KV cache, for software adapters: one thread a block of queries, no barrier.
//
// attended[r][h] = softmax(scores of row r's query head h with the keys that r sees) . values, in one dispatch.
// prompt_tiles.wgsl is the form for GPUs; the two differ in their order of sums, and a device uses one of them always.
//
// queries:  [rows][heads][headDim / 4] vec4, rotated
// keys, values: as the kv piece says; pages: as pages.wgsl says
// attended: [rows][attendedStride] vec4, head after head
//
// A block is QUERIES queries of a key-value head, of one row or of rows side by side; each key and value is loaded once for
// all of them. Their rows see keys from and to different positions: at the first key that a row sees its queries start
// afresh, and after the last one they are written. Outside of that their numbers are walked along and mean nothing, so
// nothing is masked, and what a row computes is the same in any block and any chunk of the prompt.
//
// Constants: QUERIES, HEAD_VECTORS (headDim / 4), WORKGROUP. Needs rows.wgsl, pages.wgsl, visible_keys.wgsl,
// committed_slots.wgsl, walk_keys.wgsl and a kv piece.

@group(0) @binding(3) var<storage, read> queries: array<array<vec4f, HEAD_VECTORS>>;
@group(0) @binding(6) var<storage, read> pages: array<u32>;
@group(0) @binding(7) var<storage, read_write> attended: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let kvHead = id.x % shape.kvHeads;
  let firstQuery = id.x / shape.kvHeads * QUERIES;
  let endQuery = min(firstQuery + QUERIES, range.count * groupSize());
  if (firstQuery >= endQuery) {
    return;
  }
  let query = scaledQueries(kvHead, firstQuery, endQuery);

  // Each query sees the keys at positions [first, end).
  var first = array<u32, QUERIES>();
  var end = array<u32, QUERIES>();
  // unroll
  for (var q = 0u; q < QUERIES; q++) {
    let row = min(firstQuery + q, endQuery - 1) / groupSize();
    let position = rows[range.first + row].position;
    first[q] = firstVisible(position);
    end[q] = position + 1;
  }
  var key = first[0];
  var endKey = end[0];
  // unroll
  for (var q = 0u; q < QUERIES; q++) {
    key = min(key, first[q]);
    endKey = max(endKey, end[q]);
  }

  var walked = nothingWalked();
  while (key < endKey) {
    // To the next key where a query starts or ends.
    var next = endKey;
    // unroll
    for (var q = 0u; q < QUERIES; q++) {
      next = min(next, select(endKey, first[q], first[q] > key));
      next = min(next, select(endKey, end[q], end[q] > key));
    }
    walked = walkKeys(query, walked, kvHead, range.first, key, next);
    // unroll
    for (var q = 0u; q < QUERIES; q++) {
      if (next == end[q] && firstQuery + q < endQuery) {
        let result = resultOfQuery(kvHead, firstQuery + q);
        // unroll
        for (var i = 0u; i < HEAD_VECTORS; i++) {
          attended[result + i] = walked.sums[q][i] / walked.exponentials[q];
        }
      }
      let starts = next == first[q];
      walked.largest[q] = select(walked.largest[q], LOWEST, starts);
      walked.exponentials[q] = select(walked.exponentials[q], 0.0, starts);
      // unroll
      for (var i = 0u; i < HEAD_VECTORS; i++) {
        walked.sums[q][i] = select(walked.sums[q][i], vec4f(), starts);
      }
    }
    key = next;
  }
}
