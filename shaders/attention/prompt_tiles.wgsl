// Attention of the rows of a prompt over the KV cache, for GPUs: tiles of queries and keys in workgroup memory.
//
// attended[r][h] = softmax(scores of row r's query head h with the keys that r sees) . values, in one dispatch and with no
// partial results in memory (FlashAttention, Dao et al. 2022; online softmax, Milakov and Gimelshein 2018).
// prompt_threads.wgsl is the form for software adapters.
//
// queries:  [rows][heads][headDim / 4] vec4, rotated
// keys, values: as the kv piece says; pages: as pages.wgsl says
// attended: [rows][attendedStride] vec4, head after head
//
// One workgroup a (key-value head, TILE_QUERIES queries): query heads that share the key-value head, and rows side by side.
// THREADS_PER_QUERY threads work on each query. The keys of a tile pass through workgroup memory, then the values in the
// same place, so each is read from the cache once for all queries; nothing larger than a few vec4 stays in registers.
//
// Tiles of keys are cut at absolute positions. A query's sums take the keys of a tile that it sees in ascending order and
// skip the others, and a tile of which it sees none leaves it as it is. So its result does not depend on its place in the
// tile of queries, on the other rows, or on how the prompt was cut into chunks.
//
// Constants: TILE_QUERIES, TILE_KEYS, THREADS_PER_QUERY (WORKGROUP / TILE_QUERIES), KEYS_PER_THREAD (TILE_KEYS / THREADS_PER_QUERY),
// PAIRS_PER_THREAD (of HALF_VECTORS, rounded up), HEAD_VECTORS (headDim / 4), HALF_VECTORS (headDim / 8), WORKGROUP. Needs
// rows.wgsl, pages.wgsl, visible_keys.wgsl, committed_slots.wgsl and a kv piece.

@group(0) @binding(3) var<storage, read> queries: array<array<vec4f, HEAD_VECTORS>>;
@group(0) @binding(6) var<storage, read> pages: array<u32>;
@group(0) @binding(7) var<storage, read_write> attended: array<vec4f>;

// One vec4 more than a head, so that the same vec4 of neighbouring keys lies in different banks.
const STRIDE = HEAD_VECTORS + 1;

var<workgroup> query: array<vec4f, TILE_QUERIES * STRIDE>;
// Keys, then values.
var<workgroup> tile: array<vec4f, TILE_KEYS * STRIDE>;
var<workgroup> weights: array<array<f32, TILE_KEYS>, TILE_QUERIES>;
var<workgroup> largestOfThread: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let kvHead = group.y;
  let firstQuery = group.x * TILE_QUERIES;
  let endQuery = min(firstQuery + TILE_QUERIES, range.count * groupSize());
  if (firstQuery >= endQuery) {
    return;
  }
  for (var item = thread; item < TILE_QUERIES * HEAD_VECTORS; item += WORKGROUP) {
    let q = item / HEAD_VECTORS;
    let i = item % HEAD_VECTORS;
    query[q * STRIDE + i] = queries[headOfQuery(kvHead, min(firstQuery + q, endQuery - 1))][i] * shape.scale;
  }

  // The keys of all queries: rows of a prompt ascend.
  let firstKey = firstVisible(rows[range.first + firstQuery / groupSize()].position);
  let endKey = rows[range.first + (endQuery - 1) / groupSize()].position + 1;

  let sight = sightOf(range.first); // all rows are of one text

  // This thread's query, the last one repeated where there are fewer, and what it sees.
  let q = thread / THREADS_PER_QUERY;
  let part = thread % THREADS_PER_QUERY;
  let position = rows[range.first + min(firstQuery + q, endQuery - 1) / groupSize()].position;
  let firstSeen = firstVisible(position);

  var largest = LOWEST;
  var exponentials = 0.0;
  // Pairs of vec4: numbers part, part + THREADS_PER_QUERY, ...
  var sums = array<array<vec4f, 2>, PAIRS_PER_THREAD>();

  for (var start = firstKey - firstKey % TILE_KEYS; start < endKey; start += TILE_KEYS) {
    // The keys of the tile that the query sees.
    let seenStart = max(firstSeen, start) - start;
    let seenEnd = max(min(position + 1, start + TILE_KEYS), start) - start;

    for (var item = thread; item < TILE_KEYS * HALF_VECTORS; item += WORKGROUP) {
      let key = start + item / HALF_VECTORS;
      let j = item % HALF_VECTORS;
      if (key >= firstKey && key < endKey) {
        let pair = keyPair(slotOf(sight, key) * shape.kvHeads + kvHead, j);
        let at = (key - start) * STRIDE + j;
        tile[at] = pair[0];
        tile[at + HALF_VECTORS] = pair[1];
      }
    }
    workgroupBarrier();

    // Scores of the keys part, part + THREADS_PER_QUERY, ...; of keys that the query does not see they are not used.
    var scores = array<f32, KEYS_PER_THREAD>();
    for (var i = 0u; i < HEAD_VECTORS; i++) {
      let x = query[q * STRIDE + i];
      // unroll
      for (var n = 0u; n < KEYS_PER_THREAD; n++) {
        scores[n] += dot(x, tile[(part + n * THREADS_PER_QUERY) * STRIDE + i]);
      }
    }
    var newLargest = largest;
    // unroll
    for (var n = 0u; n < KEYS_PER_THREAD; n++) {
      let key = part + n * THREADS_PER_QUERY;
      scores[n] = softCapped(scores[n]);
      newLargest = select(newLargest, max(newLargest, scores[n]), key >= seenStart && key < seenEnd);
    }
    largestOfThread[thread] = newLargest;
    workgroupBarrier();

    for (var other = 0u; other < THREADS_PER_QUERY; other++) {
      newLargest = max(newLargest, largestOfThread[q * THREADS_PER_QUERY + other]);
    }
    // unroll
    for (var n = 0u; n < KEYS_PER_THREAD; n++) {
      weights[q][part + n * THREADS_PER_QUERY] = exp(scores[n] - newLargest);
    }
    for (var item = thread; item < TILE_KEYS * HALF_VECTORS; item += WORKGROUP) {
      let key = start + item / HALF_VECTORS;
      let j = item % HALF_VECTORS;
      if (key >= firstKey && key < endKey) {
        let pair = valuePair(slotOf(sight, key) * shape.kvHeads + kvHead, j);
        let at = (key - start) * STRIDE + j;
        tile[at] = pair[0];
        tile[at + HALF_VECTORS] = pair[1];
      }
    }
    workgroupBarrier();

    if (seenStart < seenEnd) {
      let shrink = exp(largest - newLargest);
      largest = newLargest;
      exponentials *= shrink;
      // unroll
      for (var p = 0u; p < PAIRS_PER_THREAD; p++) {
        sums[p][0] *= shrink;
        sums[p][1] *= shrink;
      }
      for (var key = seenStart; key < seenEnd; key++) {
        let weight = weights[q][key];
        exponentials += weight;
        // unroll
        for (var p = 0u; p < PAIRS_PER_THREAD; p++) {
          let j = min(part + p * THREADS_PER_QUERY, HALF_VECTORS - 1);
          sums[p][0] += weight * tile[key * STRIDE + j];
          sums[p][1] += weight * tile[key * STRIDE + j + HALF_VECTORS];
        }
      }
    }
    workgroupBarrier();
  }

  if (firstQuery + q < endQuery) {
    let result = resultOfQuery(kvHead, firstQuery + q);
    // unroll
    for (var p = 0u; p < PAIRS_PER_THREAD; p++) {
      let j = part + p * THREADS_PER_QUERY;
      if (j < HALF_VECTORS) {
        attended[result + j] = sums[p][0] / exponentials;
        attended[result + j + HALF_VECTORS] = sums[p][1] / exponentials;
      }
    }
  }
}
