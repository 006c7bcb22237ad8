// Attention of a few rows over the KV cache, first stage, for software adapters: one thread a chunk of keys, no barrier.
//
// For row r, head h and chunk c: the softmax of the scores of keys [c * KEYS_PER_CHUNK, (c + 1) * KEYS_PER_CHUNK) as far as
// the row sees them, kept unnormalised. (Split over keys as in Flash-Decoding, Dao et al. 2023.) merge_chunks.wgsl is the
// second stage, few_queries_workgroup.wgsl the form for GPUs.
//
// queries:      [rows][heads][headDim / 4] vec4, rotated
// keys, values: as the kv piece says; pages: as pages.wgsl says
// partialSums:  [rows][heads][maxChunks][headDim / 4] vec4
// partialSoftmax: [rows][heads][maxChunks] (largest score, sum of exponentials)
//
// Chunks are cut at absolute positions, so the sums of a row do not depend on how many rows there are, on the length of the
// cache, on the window's edge or on the grid.
//
// One thread a (key-value head, chunk, block of queries); workgroups are small, so that few threads fill all cores.
//
// Constants: QUERIES, HEAD_VECTORS (headDim / 4), WORKGROUP, and those of the pieces. Needs rows.wgsl, pages.wgsl,
// visible_keys.wgsl, key_slots.wgsl, query_blocks.wgsl, walk_keys.wgsl and a kv piece.

@group(0) @binding(3) var<storage, read> queries: array<array<vec4f, HEAD_VECTORS>>;
@group(0) @binding(6) var<storage, read> pages: array<u32>;
@group(0) @binding(7) var<storage, read_write> partialSums: array<array<vec4f, HEAD_VECTORS>>;
@group(0) @binding(8) var<storage, read_write> partialSoftmax: array<vec2f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let kvHead = id.x % shape.kvHeads;
  let chunk = id.x / shape.kvHeads;
  let block = blockOf(chunk, id.y);
  if (block.firstQuery >= block.endQuery || block.firstKey >= block.endKey) {
    return;
  }
  let query = scaledQueries(kvHead, block.firstQuery, block.endQuery);
  let walked = walkKeys(query, nothingWalked(), kvHead, block.row, block.firstKey, block.endKey);
  // unroll
  for (var q = 0u; q < QUERIES; q++) {
    if (block.firstQuery + q < block.endQuery) {
      let partial = headOfQuery(kvHead, block.firstQuery + q) * shape.maxChunks + chunk;
      partialSoftmax[partial] = vec2f(walked.largest[q], walked.exponentials[q]);
      // unroll
      for (var i = 0u; i < HEAD_VECTORS; i++) {
        partialSums[partial][i] = walked.sums[q][i];
      }
    }
  }
}
