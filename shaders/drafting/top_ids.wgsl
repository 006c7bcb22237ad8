// followers[token of row r] = the ids of the FOLLOWERS largest logits of row r; and targets[r] = the first of them.
//
// The update of Token Recycling (Luo et al. 2024, section 3.2): every verified row teaches what follows its token, refused ones
// too. Of rows with the same token the first counts: the nearer to the text, the likelier its context is the text's. Of equal
// logits the lowest id comes first. A row whose logits are not all finite teaches nothing, and its target is NONE.
//
// logits: [rows][count]
//
// One workgroup a row. Each thread keeps the best of its ids in order; then the best of what the threads have on top is taken,
// FOLLOWERS times. So the logits are read once.
//
// Constants: THREADS, FOLLOWERS, NONE. Needs rows.wgsl and best.wgsl.

struct Shape {
  count: u32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> logits: array<f32>;
@group(0) @binding(4) var<storage, read_write> followers: array<array<u32, FOLLOWERS>>;
@group(0) @binding(5) var<storage, read_write> targets: array<u32>;

var<workgroup> tops: array<Candidate, THREADS>;
var<workgroup> taken: Candidate;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  var own = array<Candidate, FOLLOWERS>();
  for (var k = 0u; k < FOLLOWERS; k++) {
    own[k] = WORST;
  }
  for (var id = thread; id < shape.count; id += THREADS) {
    var next = candidate(logits[row * shape.count + id], id);
    if (isBetter(next, own[FOLLOWERS - 1])) {
      for (var k = 0u; k < FOLLOWERS; k++) {
        let other = own[k];
        if (isBetter(next, other)) {
          own[k] = next;
          next = other;
        }
      }
    }
  }

  let token = rows[row].token;
  let teaches = thread == 0 && token < arrayLength(&followers) && !isRepeated(row, token);
  var used = 0u;
  var fails = false;
  for (var k = 0u; k < FOLLOWERS; k++) {
    var top = WORST;
    if (used < FOLLOWERS) {
      top = own[used];
    }
    tops[thread] = top;
    workgroupBarrier();
    if (thread == 0) {
      for (var t = 1u; t < THREADS; t++) {
        top = better(top, tops[t]);
      }
      taken = top;
      if (k == 0) {
        targets[row] = top.id;
        fails = top.id == NONE;
      }
      if (teaches && !fails) {
        followers[token][k] = top.id;
      }
    }
    workgroupBarrier();
    if (tops[thread].id == taken.id) {
      used++;
    }
  }
}

fn isBetter(next: Candidate, best: Candidate) -> bool {
  return next.logit > best.logit || (next.logit == best.logit && next.id + 1 < best.id + 1);
}

fn isRepeated(row: u32, token: u32) -> bool {
  for (var other = range.first; other < row; other++) {
    if (rows[other].token == token) {
      return true;
    }
  }
  return false;
}
