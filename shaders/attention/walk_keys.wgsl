// Shared by the attention kernels without barriers: one thread walks a run of keys for a block of queries.
//
// What it keeps of each query is its unnormalised softmax over the keys so far: the largest score, the sum of
// exponentials, and the weighted sum of values (online softmax: Milakov and Gimelshein 2018). Keys are taken one by one in
// ascending order, and what is done for a query does not depend on the other queries of its block.
//
// Loads are what costs on a software adapter: each is a gather with a bounds check per component. So every key and value
// is loaded once for all queries of the block, and everything else stays in registers. Two exponentials a key are cheap
// beside that; one, for scores of several keys at a time, was not faster.
//
// Constants: QUERIES, HEAD_VECTORS (headDim / 4), HALF_VECTORS (headDim / 8), PAGE_SLOTS. Needs visible_keys.wgsl, a *_slots.wgsl, a
// kv piece, and of the kernel `queries`.

alias Queries = array<array<vec4f, HEAD_VECTORS>, QUERIES>;

struct Walked {
  largest: array<f32, QUERIES>,
  exponentials: array<f32, QUERIES>,
  sums: array<array<vec4f, HEAD_VECTORS>, QUERIES>,
}

// Queries [firstQuery, endQuery), at least one, times the scale of the scores. Past endQuery the last one is repeated.
fn scaledQueries(kvHead: u32, firstQuery: u32, endQuery: u32) -> Queries {
  var scaled = Queries();
  // unroll
  for (var q = 0u; q < QUERIES; q++) {
    let head = headOfQuery(kvHead, min(firstQuery + q, endQuery - 1));
    // unroll
    for (var i = 0u; i < HEAD_VECTORS; i++) {
      scaled[q][i] = queries[head][i] * shape.scale;
    }
  }
  return scaled;
}

fn nothingWalked() -> Walked {
  var walked = Walked();
  // unroll
  for (var q = 0u; q < QUERIES; q++) {
    walked.largest[q] = LOWEST;
  }
  return walked;
}

// Goes on over the keys at positions [firstKey, endKey) as row `row` sees them.
fn walkKeys(query: Queries, before: Walked, kvHead: u32, row: u32, firstKey: u32, endKey: u32) -> Walked {
  var walked = before;
  let sight = sightOf(row);
  var slot = 0u;
  for (var position = firstKey; position < endKey; position++) {
    // Committed keys of a page stand side by side.
    slot++;
    if (position == firstKey || position % PAGE_SLOTS == 0 || position >= sight.linear) {
      slot = slotOf(sight, position);
    }
    let head = slot * shape.kvHeads + kvHead;
    var key = array<vec4f, HEAD_VECTORS>();
    // unroll
    for (var j = 0u; j < HALF_VECTORS; j++) {
      let pair = keyPair(head, j);
      key[j] = pair[0];
      key[j + HALF_VECTORS] = pair[1];
    }
    var shrink = array<f32, QUERIES>();
    var weight = array<f32, QUERIES>();
    // unroll
    for (var q = 0u; q < QUERIES; q++) {
      var score = 0.0;
      // unroll
      for (var i = 0u; i < HEAD_VECTORS; i++) {
        score += dot(query[q][i], key[i]);
      }
      score = softCapped(score);
      let largest = max(walked.largest[q], score);
      shrink[q] = exp(walked.largest[q] - largest);
      weight[q] = exp(score - largest);
      walked.largest[q] = largest;
      walked.exponentials[q] = walked.exponentials[q] * shrink[q] + weight[q];
    }
    // unroll
    for (var j = 0u; j < HALF_VECTORS; j++) {
      let pair = valuePair(head, j);
      // unroll
      for (var q = 0u; q < QUERIES; q++) {
        walked.sums[q][j] = walked.sums[q][j] * shrink[q] + weight[q] * pair[0];
        walked.sums[q][j + HALF_VECTORS] = walked.sums[q][j + HALF_VECTORS] * shrink[q] + weight[q] * pair[1];
      }
    }
  }
  return walked;
}
