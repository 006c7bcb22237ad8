// candidates[r][g] = the best (logit, id) among the ids of workgroup g: LM head and first stage of the argmax in one
//
// For greedy decoding the logits are never written: a workgroup scores WORKGROUP ids for M rows, leaves the scores in
// workgroup memory, and after the only barrier thread r picks the best of row r in ascending order of id. The second
// stage (select_draft.wgsl, select_target.wgsl) merges the workgroups. See dot_rows.wgsl for layout and order.
//
// candidates: [rows][workgroups in x]
//
// Constants: M <= WORKGROUP, COLUMNS = 1, WORKGROUP, NONE. Needs rows.wgsl, dot_rows.wgsl and best.wgsl.

@group(0) @binding(4) var<storage, read_write> candidates: array<Candidate>;

var<workgroup> logits: array<f32, M * WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let firstId = group.x * WORKGROUP;
  let firstRow = group.y * M;
  if (firstRow >= range.count) {
    return;
  }
  if (firstId + thread < shape.columns) {
    let sums = dotRows(firstId + thread, firstRow);
    // unroll
    for (var r = 0u; r < M; r++) {
      logits[r * WORKGROUP + thread] = sums[r];
    }
  }
  workgroupBarrier();

  if (thread < M && firstRow + thread < range.count) {
    var best = WORST;
    let ids = min(WORKGROUP, shape.columns - firstId);
    for (var i = 0u; i < ids; i++) {
      best = better(best, candidate(logits[thread * WORKGROUP + i], firstId + i));
    }
    candidates[(range.first + firstRow + thread) * groups.x + group.x] = best;
  }
}
