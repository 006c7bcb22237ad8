// Attention of a few rows over the KV cache, first stage, for GPUs: one workgroup a chunk of keys.
//
// What it computes and its buffers: few_queries_threads.wgsl, the form for software adapters. The two differ in their order
// of sums; a device uses one of them always.
//
// queries:      [rows][heads][headDim / 4] vec4, rotated
// keys, values: as the kv piece says; pages: as pages.wgsl says
// partialSums:  [rows][heads][maxChunks][headDim / 4] vec4
// partialSoftmax: [rows][heads][maxChunks] (largest score, sum of exponentials)
//
// One workgroup a (key-value head, chunk, block of queries), in steps between barriers:
// - scores: one thread a key, for all queries of the block. A key is loaded once.
// - the largest score of each query, by parts of the keys. (The order of a maximum is no matter.)
// - weights: one thread a key again.
// - weighted values: one thread a (pair of vec4, part of the keys), for all queries. A value is loaded once, and threads
//   side by side read vec4 side by side.
// - the parts are added in ascending order.
// The parts are cut at fixed keys of the chunk, and keys out of sight are not visited. So what is done for a row depends on
// nothing but its own sight.
//
// Workgroup memory with 4 queries and 64 keys: 16 * headDim bytes for the queries, 9.5 KiB for the rest; 13.5 KiB for heads
// of 256.
//
// Constants: QUERIES, KEYS_PER_CHUNK and WORKGROUP (the same), HEAD_VECTORS (headDim / 4), HALF_VECTORS (headDim / 8),
// KEY_PARTS (HALF_VECTORS * KEY_PARTS <= WORKGROUP), KEYS_PER_PART, SCORE_PARTS (WORKGROUP / QUERIES). Needs rows.wgsl,
// pages.wgsl, visible_keys.wgsl, key_slots.wgsl, query_blocks.wgsl and a kv piece.

@group(0) @binding(3) var<storage, read> queries: array<array<vec4f, HEAD_VECTORS>>;
@group(0) @binding(6) var<storage, read> pages: array<u32>;
@group(0) @binding(7) var<storage, read_write> partialSums: array<array<vec4f, HEAD_VECTORS>>;
@group(0) @binding(8) var<storage, read_write> partialSoftmax: array<vec2f>;

var<workgroup> query: array<array<vec4f, HEAD_VECTORS>, QUERIES>;
// Of each key: its head's place in `keys` and `values`.
var<workgroup> heads: array<u32, KEYS_PER_CHUNK>;
// Scores, then weights.
var<workgroup> weights: array<array<f32, KEYS_PER_CHUNK>, QUERIES>;
var<workgroup> largestOfPart: array<array<f32, SCORE_PARTS>, QUERIES>;
// Of each query: the two vec4 of each thread, side by side with its neighbours'.
var<workgroup> sumsOfThread: array<array<array<vec4f, WORKGROUP>, 2>, QUERIES>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let chunk = group.x;
  let kvHead = group.y;
  let block = blockOf(chunk, group.z);
  if (block.firstQuery >= block.endQuery || block.firstKey >= block.endKey) {
    return;
  }

  // Queries, the last one repeated where there are fewer, and the places of the keys.
  for (var item = thread; item < QUERIES * HEAD_VECTORS; item += WORKGROUP) {
    let q = item / HEAD_VECTORS;
    let i = item % HEAD_VECTORS;
    let head = headOfQuery(kvHead, min(block.firstQuery + q, block.endQuery - 1));
    query[q][i] = queries[head][i] * shape.scale;
  }
  let position = chunk * KEYS_PER_CHUNK + thread;
  let seen = position >= block.firstKey && position < block.endKey;
  if (seen) {
    heads[thread] = slotOf(sightOf(block.row), position) * shape.kvHeads + kvHead;
  }
  workgroupBarrier();

  // Scores.
  var scores = array<f32, QUERIES>();
  if (seen) {
    let head = heads[thread];
    for (var j = 0u; j < HALF_VECTORS; j++) {
      let key = keyPair(head, j);
      // unroll
      for (var q = 0u; q < QUERIES; q++) {
        scores[q] += dot(query[q][j], key[0]) + dot(query[q][j + HALF_VECTORS], key[1]);
      }
    }
  }
  // unroll
  for (var q = 0u; q < QUERIES; q++) {
    weights[q][thread] = select(LOWEST, softCapped(scores[q]), seen);
  }
  workgroupBarrier();

  // The largest score of each query.
  {
    let q = thread / SCORE_PARTS;
    let part = thread % SCORE_PARTS;
    var largest = LOWEST;
    for (var key = part; key < KEYS_PER_CHUNK; key += SCORE_PARTS) {
      largest = max(largest, weights[q][key]);
    }
    largestOfPart[q][part] = largest;
  }
  workgroupBarrier();
  var largest = array<f32, QUERIES>();
  // unroll
  for (var q = 0u; q < QUERIES; q++) {
    largest[q] = largestOfPart[q][0];
    for (var part = 1u; part < SCORE_PARTS; part++) {
      largest[q] = max(largest[q], largestOfPart[q][part]);
    }
    if (seen) {
      weights[q][thread] = exp(weights[q][thread] - largest[q]);
    }
  }
  workgroupBarrier();

  // Weighted values.
  let j = thread % HALF_VECTORS;
  let part = thread / HALF_VECTORS;
  if (part < KEY_PARTS) {
    let chunkStart = chunk * KEYS_PER_CHUNK;
    let start = max(part * KEYS_PER_PART, block.firstKey - chunkStart);
    let end = min((part + 1) * KEYS_PER_PART, block.endKey - chunkStart);
    var sums = array<array<vec4f, 2>, QUERIES>();
    for (var key = start; key < end; key++) {
      let value = valuePair(heads[key], j);
      // unroll
      for (var q = 0u; q < QUERIES; q++) {
        let weight = weights[q][key];
        sums[q][0] += weight * value[0];
        sums[q][1] += weight * value[1];
      }
    }
    // unroll
    for (var q = 0u; q < QUERIES; q++) {
      sumsOfThread[q][0][thread] = sums[q][0];
      sumsOfThread[q][1][thread] = sums[q][1];
    }
  }
  workgroupBarrier();

  // The parts together. Each query's first thread adds up its weights too.
  for (var item = thread; item < QUERIES * HALF_VECTORS; item += WORKGROUP) {
    let q = item / HALF_VECTORS;
    let j = item % HALF_VECTORS;
    if (block.firstQuery + q < block.endQuery) {
      var low = vec4f();
      var high = vec4f();
      for (var part = 0u; part < KEY_PARTS; part++) {
        low += sumsOfThread[q][0][part * HALF_VECTORS + j];
        high += sumsOfThread[q][1][part * HALF_VECTORS + j];
      }
      let partial = headOfQuery(kvHead, block.firstQuery + q) * shape.maxChunks + chunk;
      partialSums[partial][j] = low;
      partialSums[partial][j + HALF_VECTORS] = high;
      if (j == 0) {
        var top = largestOfPart[q][0];
        for (var part = 1u; part < SCORE_PARTS; part++) {
          top = max(top, largestOfPart[q][part]);
        }
        var exponentials = 0.0;
        for (var key = block.firstKey % KEYS_PER_CHUNK; key < block.endKey - chunk * KEYS_PER_CHUNK; key++) {
          exponentials += weights[q][key];
        }
        partialSoftmax[partial] = vec2f(top, exponentials);
      }
    }
  }
}
