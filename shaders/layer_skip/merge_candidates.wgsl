// Shared: second stage of the argmax, one workgroup a row.
//
// mergeCandidates(row): the best of candidates[row][0 .. count), in whatever order they stand: of equal logits the lowest id
// wins (best.wgsl). Valid in thread 0 only.
//
// Constants: WORKGROUP. Needs best.wgsl.

struct CandidatesShape {
  count: u32, // candidates a row: workgroups of head_argmax.wgsl
}

var<workgroup> bests: array<Candidate, WORKGROUP>;

fn mergeCandidates(row: u32, count: u32, thread: u32) -> Candidate {
  let run = (count + WORKGROUP - 1) / WORKGROUP;
  var best = WORST;
  for (var i = thread * run; i < min((thread + 1) * run, count); i++) {
    best = better(best, candidates[row * count + i]);
  }
  bests[thread] = best;
  workgroupBarrier();
  if (thread == 0) {
    for (var t = 1u; t < WORKGROUP; t++) {
      best = better(best, bests[t]);
    }
  }
  return best;
}
