// Draft selection: the best id of a draft row becomes the token of the next row. The draft's next step reads it there, and
// so does the verification: no draft leaves the GPU.
//
// One workgroup a row. A row that no draft continues has nobody to tell.
//
// Constants: WORKGROUP, NONE. Needs rows.wgsl, best.wgsl, merge_candidates.wgsl and an
// ids_*.wgsl: a head over hot ids numbers its candidates by their places in the table.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: CandidatesShape;
@group(0) @binding(2) var<storage, read> candidates: array<Candidate>;
@group(0) @binding(3) var<storage, read_write> rows: array<Row>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  let best = mergeCandidates(row, shape.count, thread);
  if (thread == 0 && rows[row].child != NONE) {
    rows[rows[row].child].token = select(idOf(best.id), NONE, best.id == NONE);
  }
}
