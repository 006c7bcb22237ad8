// Target selection: targets[r] = the id that the full model chooses after row r.
//
// One workgroup a row.
//
// Constants: WORKGROUP, NONE. Needs rows.wgsl, best.wgsl and merge_candidates.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: CandidatesShape;
@group(0) @binding(2) var<storage, read> candidates: array<Candidate>;
@group(0) @binding(3) var<storage, read_write> targets: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  let best = mergeCandidates(row, shape.count, thread);
  if (thread == 0) {
    targets[row] = best.id;
  }
}
