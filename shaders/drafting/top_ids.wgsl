// followers[token of row r] = the ids of the FOLLOWERS largest logits of row r; and targets[r] = the first of them.
//
// The update of Token Recycling (Luo et al. 2024): every verified row teaches what follows its token, refused ones too. Of rows
// with the same token the first counts: the nearer to the text, the likelier its context is the text's. Of equal logits the
// lowest id comes first. A row whose logits are not all finite teaches nothing, and its target is NONE.
//
// logits: [rows][count]
//
// One workgroup a row (top_few.wgsl).
//
// Constants: THREADS, FOLLOWERS, NONE. Needs rows.wgsl, best.wgsl and top_few.wgsl.

struct Shape {
  count: u32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> logits: array<f32>;
@group(0) @binding(4) var<storage, read_write> followers: array<array<u32, FOLLOWERS>>;
@group(0) @binding(5) var<storage, read_write> targets: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  var few = fewOfNone();
  for (var id = thread; id < shape.count; id += THREADS) {
    keep(&few, candidate(logits[row * shape.count + id], id));
  }
  let token = rows[row].token;
  let isKnown = token < arrayLength(&followers) && !isRepeated(row, token);
  var used = 0u;
  var isFinite = true;
  for (var k = 0u; k < FOLLOWERS; k++) {
    let best = nextOfAll(&few, &used, thread);
    if (thread == 0) {
      if (k == 0) {
        targets[row] = best.id;
        isFinite = best.id != NONE;
      }
      if (isKnown && isFinite) {
        followers[token][k] = best.id;
      }
    }
  }
}

fn isRepeated(row: u32, token: u32) -> bool {
  for (var other = range.first; other < row; other++) {
    if (rows[other].token == token) {
      return true;
    }
  }
  return false;
}
