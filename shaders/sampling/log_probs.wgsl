// What a row's logits say of its target: the logarithm of their sum of exp, the target's own logit, and the largest logits
// with their ids. Of the model's own logits, before bias, penalties, temperature and filters: log p = logit - logSumExp.
//
// One workgroup a row. The largest ones are found one after the other, each below the last: of equal logits the lowest id
// comes first.
//
// logits: [rows][count]
//
// Constants: THREADS, TOP_CAPACITY, NONE. Needs rows.wgsl and best.wgsl.

struct LogProbs {
  logSumExp: f32,
  logit: f32,
  top: array<Candidate, TOP_CAPACITY>,
}

struct Wanted {
  count: u32,
  top: u32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Wanted;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read_write> logProbs: array<LogProbs>;

var<workgroup> bests: array<Candidate, THREADS>;
var<workgroup> sums: array<f32, THREADS>;

// The largest logit behind `last` in the order of best.wgsl.
fn nextBest(base: u32, thread: u32, last: Candidate) -> Candidate {
  var best = WORST;
  for (var i = thread; i < shape.count; i += THREADS) {
    let next = Candidate(logits[base + i], i);
    let behind = next.logit < last.logit || (next.logit == last.logit && next.id > last.id);
    if (last.id == NONE || behind) {
      best = better(best, next);
    }
  }
  bests[thread] = best;
  workgroupBarrier();
  for (var t = 0u; t < THREADS; t++) {
    best = better(best, bests[t]);
  }
  workgroupBarrier();
  return best;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  let base = row * shape.count;
  var last = nextBest(base, thread, WORST);
  let peak = last.logit;
  for (var n = 0u; n < shape.top; n++) {
    if (n > 0u) {
      last = nextBest(base, thread, last);
    }
    if (thread == 0u) {
      logProbs[row].top[n] = last;
    }
  }
  var sum = 0.0;
  for (var i = thread; i < shape.count; i += THREADS) {
    sum += exp(logits[base + i] - peak);
  }
  sums[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    sum = 0.0;
    for (var t = 0u; t < THREADS; t++) {
      sum += sums[t];
    }
    logProbs[row].logSumExp = peak + log(sum);
    logProbs[row].logit = select(logits[base + targets[row]], 0.0, targets[row] == NONE);
  }
}
