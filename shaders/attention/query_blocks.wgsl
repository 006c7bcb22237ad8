// Shared by the kernels of few queries: how the queries over a chunk of keys are cut into blocks.
//
// The queries of a block see the very same keys of the chunk in the very same slots, so each key and value is loaded once
// for all of them, and nothing in a block needs a mask. A chunk of committed keys of one text that every row sees whole, and that is
// nearly every chunk of a long context, is cut into blocks of QUERIES whatever rows they are of. In any other chunk (keys
// in flight, the edge of a window, rows of several texts) a block holds queries of one row.
//
// Constants: QUERIES, KEYS_PER_CHUNK. Needs rows.wgsl and visible_keys.wgsl.

struct Block {
  // Queries [firstQuery, endQuery) of the key-value head, at most QUERIES; none: there is nothing to do.
  firstQuery: u32,
  endQuery: u32,
  // The row of its first query; the others see what it sees.
  row: u32,
  // The keys they see, at positions [firstKey, endKey) of the chunk; none: the chunk is out of the row's sight.
  firstKey: u32,
  endKey: u32,
}

fn blockOf(chunk: u32, number: u32) -> Block {
  let group = groupSize();
  let chunkStart = chunk * KEYS_PER_CHUNK;
  let chunkEnd = chunkStart + KEYS_PER_CHUNK;
  var block = Block();
  block.endQuery = range.count * group;
  if (seenByAll(chunkStart, chunkEnd)) {
    block.firstQuery = number * QUERIES;
  } else {
    let blocksOfRow = (group + QUERIES - 1) / QUERIES;
    let row = number / blocksOfRow;
    block.firstQuery = row * group + (number % blocksOfRow) * QUERIES;
    block.endQuery = min(block.endQuery, (row + 1) * group);
  }
  block.endQuery = min(block.endQuery, block.firstQuery + QUERIES);
  if (block.firstQuery < block.endQuery) {
    block.row = range.first + block.firstQuery / group;
    let position = rows[block.row].position;
    block.firstKey = max(chunkStart, firstVisible(position));
    block.endKey = min(chunkEnd, position + 1);
  }
  return block;
}

// Whether all keys at positions [start, end) are committed, of one text, and seen by every row of the range.
fn seenByAll(start: u32, end: u32) -> bool {
  let lane = rows[range.first].lane;
  for (var i = 0u; i < range.count; i++) {
    let row = rows[range.first + i];
    if (row.lane != lane || end > row.linear || row.position + 1 < end || firstVisible(row.position) > start) {
      return false;
    }
  }
  return true;
}
