// tops[r] = the FOLLOWERS best choices of a draft row, in order: (score - peak + noise, id), without noise at temperature 0.
//
// The first is the draft itself. Where the exit was unsure, the full model may well choose one of the others: branch.wgsl makes
// rows of them. Only a proposal: ids further than REACH below the peak are left out, which noise seldom lifts to the top.
//
// scores: [rows][count], filters: [rows], of the draft's side as adjust.wgsl and filter.wgsl left them
//
// One workgroup a row (top_few.wgsl), whose threads take places as in a run of runs.wgsl.
//
// Constants: WORKGROUP and THREADS (the same), IDS_PER_THREAD, FOLLOWERS, NONE. Needs rows.wgsl, scores.wgsl, noise.wgsl,
// best.wgsl, runs.wgsl, top_few.wgsl and an ids_*.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Scores;
@group(0) @binding(2) var<storage, read> samplings: array<Sampling>;
@group(0) @binding(3) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read> scores: array<f32>;
@group(0) @binding(5) var<storage, read> filters: array<Filter>;
@group(0) @binding(6) var<storage, read_write> tops: array<array<Candidate, FOLLOWERS>>;

const REACH = 12.0;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  sampling = samplings[rows[row].lane];
  let rowFilter = filters[row];
  let position = rows[row].position + 1u;
  var few = fewOfNone();
  let places = shape.groups * IDS_PER_THREAD;
  for (var k = 0u; k < places; k++) {
    let i = placeOf(0u, k, thread);
    if (i < shape.count) {
      let score = scores[row * shape.count + i];
      let below = score - rowFilter.peak;
      if (below >= -REACH && isAllowed(score, rowFilter)) {
        let id = idOf(i);
        var rank = below;
        if (sampling.temperature > 0.0) {
          rank += noiseOf(id, position, shape.stream, sampling.seed);
        }
        keep(&few, Candidate(rank, id));
      }
    }
  }
  var used = 0u;
  for (var k = 0u; k < FOLLOWERS; k++) {
    let best = nextOfAll(&few, &used, thread);
    if (thread == 0u) {
      tops[row][k] = best;
    }
  }
}
