// Shared: the FOLLOWERS best candidates of a row, in order, found by a workgroup that looks at each candidate once.
//
// Each thread keeps the best of its own (keep); then the best of what the threads have on top is taken, FOLLOWERS times
// (nextOfAll).
//
// Constants: THREADS, FOLLOWERS, NONE. Needs best.wgsl.

alias Few = array<Candidate, FOLLOWERS>;

var<workgroup> onTop: array<Candidate, THREADS>;
var<workgroup> taken: Candidate;

fn fewOfNone() -> Few {
  var few = Few();
  for (var k = 0u; k < FOLLOWERS; k++) {
    few[k] = WORST;
  }
  return few;
}

fn keep(few: ptr<function, Few>, candidate: Candidate) {
  var next = candidate;
  if (!beats(next, (*few)[FOLLOWERS - 1])) {
    return;
  }
  for (var k = 0u; k < FOLLOWERS; k++) {
    let other = (*few)[k];
    if (beats(next, other)) {
      (*few)[k] = next;
      next = other;
    }
  }
}

// The best that has not been taken; the same in all threads, which call it together. `used`: how many were the thread's own.
fn nextOfAll(few: ptr<function, Few>, used: ptr<function, u32>, thread: u32) -> Candidate {
  var own = WORST;
  if (*used < FOLLOWERS) {
    own = (*few)[*used];
  }
  onTop[thread] = own;
  workgroupBarrier();
  if (thread == 0) {
    var best = own;
    for (var t = 1u; t < THREADS; t++) {
      best = better(best, onTop[t]);
    }
    taken = best;
  }
  workgroupBarrier();
  let best = taken;
  *used += select(0u, 1u, own.id == best.id);
  return best;
}
