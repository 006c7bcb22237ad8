// candidates[r][g] = the best (logit, id) among the ids of workgroup g: LM head and first stage of the argmax in one
//
// For greedy decoding the logits are never written: a thread keeps the best of its ids, and after the only barrier thread r
// picks the best of row r. The second stage (select_draft.wgsl, select_target.wgsl) merges the workgroups. A head too large
// for one binding is several matrices, whose workgroups follow one another in `candidates`.
//
// The products are compared as they are: a factor above 0 and a soft cap keep their order, but for what rounding makes equal.
//
// candidates: [rows][resultStride], of this matrix from resultOffset on
//
// Constants: M <= WORKGROUP, WIDTH = 1, SLICES, WORKGROUP, NONE. Needs matmul.wgsl, few_rows.wgsl and best.wgsl.

@group(0) @binding(5) var<storage, read_write> candidates: array<Candidate>;

const LANES = WORKGROUP / SLICES;

var<private> own: array<Candidate, M>;
var<workgroup> bests: array<Candidate, M * LANES>;

fn firstColumn(output: u32) -> u32 {
  return output;
}

fn begin(firstRow: u32, thread: u32) {
  for (var r = 0u; r < M; r++) {
    own[r] = WORST;
  }
}

fn normOf(r: u32) -> f32 {
  return 1.0;
}

fn finish(row: u32, inSlab: u32, at: u32, logit: f32, _same: f32) {
  own[inSlab] = better(own[inSlab], candidate(logit, shape.firstId + at));
}

fn complete(firstRow: u32, thread: u32, group: u32) {
  for (var r = 0u; r < M; r++) {
    if (finishes(r, thread)) {
      bests[r * LANES + thread / SLICES] = own[r];
    }
  }
  workgroupBarrier();
  if (thread < M && firstRow + thread < range.count) {
    var best = WORST;
    for (var lane = 0u; lane < LANES; lane++) {
      best = better(best, bests[thread * LANES + lane]);
    }
    candidates[(range.first + firstRow + thread) * shape.resultStride + shape.resultOffset + group] = best;
  }
}
