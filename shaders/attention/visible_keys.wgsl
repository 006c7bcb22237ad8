// Shared by the attention kernels: the shape, and which keys a row sees.
//
// A row at position p sees the keys at positions max(0, p + 1 - window) .. p, without a window all from 0. Keys outside are
// skipped, never multiplied by zero: what stands in their slots may be anything, NaN too.
//
// Constants: HEAD_VECTORS. Needs rows.wgsl.

struct Shape {
  heads: u32,
  kvHeads: u32,
  maxChunks: u32, // chunks that the partial results have room for; only for the kernels of few queries
  scale: f32,     // of the scores, 1 / sqrt(headDim) in most models
  window: u32,    // positions a row sees, its own included; 0: all
  softCap: f32,   // scores are bent into (-softCap, softCap); 0: they are not
  attendedStride: u32, // vec4 from row to row of the result
  lanePages: u32, // entries of the page table a lane
}

// Below every score: where a search for the largest one starts.
const LOWEST = -3.4028234e38;

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;

// The first position that a row at `position` sees.
fn firstVisible(position: u32) -> u32 {
  if (shape.window == 0 || shape.window > position) {
    return 0;
  }
  return position + 1 - shape.window;
}

// Query heads that share a key-value head.
fn groupSize() -> u32 {
  return shape.heads / shape.kvHeads;
}

// A query of a key-value head is a (row of the range, head of its group), numbered with the head fastest. This is its place
// among all (row of the table, head).
fn headOfQuery(kvHead: u32, query: u32) -> u32 {
  let group = groupSize();
  return (range.first + query / group) * shape.heads + kvHead * group + query % group;
}

// Where the result of a query of a key-value head begins.
fn resultOfQuery(kvHead: u32, query: u32) -> u32 {
  let group = groupSize();
  return (range.first + query / group) * shape.attendedStride + (kvHead * group + query % group) * HEAD_VECTORS;
}

// softCap * tanh(score / softCap). In exponentials of numbers below zero nothing overflows, and WGSL's own tanh may be off
// by 1e-5.
fn softCapped(score: f32) -> f32 {
  var capped = score;
  if (shape.softCap > 0.0) {
    let e = exp(-2.0 * abs(score) / shape.softCap);
    capped = sign(score) * shape.softCap * ((1.0 - e) / (1.0 + e));
  }
  return capped;
}
