// candidates[r][g] = the best (score - peak + noise, id) among the allowed ids of workgroup g's run; at temperature 0 without
// noise and over all ids. The second stage is the argmax's own (layer_skip/select_*.wgsl).
//
// Noise is drawn for what can still win: an id further below the peak than the noise reaches is passed over; where typical-p
// may have excluded the peak, that bound does not hold and is not used. A workgroup whose own peak is out of reach, or is not
// allowed, has nothing to read: with top-k, top-p or min-p most have not.
//
// scores: [rows][count]; peaks, of adjust.wgsl's runs, which are the same, and candidates: [rows][groups]
//
// A workgroup takes a run of one row's ids (runs.wgsl).
//
// Constants: WORKGROUP, IDS_PER_THREAD, NONE. Needs rows.wgsl, scores.wgsl, noise.wgsl, best.wgsl, runs.wgsl and an
// ids_*.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Scores;
@group(0) @binding(2) var<storage, read> samplings: array<Sampling>;
@group(0) @binding(3) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read> scores: array<f32>;
@group(0) @binding(5) var<storage, read> peaks: array<f32>;
@group(0) @binding(6) var<storage, read> filters: array<Filter>;
@group(0) @binding(7) var<storage, read_write> candidates: array<Candidate>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.y >= range.count) {
    return;
  }
  let row = range.first + group.y;
  sampling = samplings[rows[row].lane];
  let rowFilter = filters[row];
  let position = rows[row].position + 1u;
  let reach = select(3.4e38, NOISE_SPAN, rowFilter.spread >= NO_LIMIT - 1u);
  let nearest = peaks[row * shape.groups + group.x];
  let isFinite = rowFilter.peak != NOT_FINITE_PEAK;
  if (!isFinite || distanceKey(nearest, rowFilter.peak) > rowFilter.farthest || rowFilter.peak - nearest > reach) {
    if (thread == 0u) {
      if (isFinite) {
        candidates[row * shape.groups + group.x] = WORST;
      } else {
        candidates[row * shape.groups + group.x] = NOT_FINITE;
      }
    }
    return;
  }
  var best = WORST;
  for (var k = 0u; k < IDS_PER_THREAD; k++) {
    let i = placeOf(group.x, k, thread);
    if (i < shape.count) {
      let score = scores[row * shape.count + i];
      if (isAllowed(score, rowFilter)) {
        let below = score - rowFilter.peak;
        if (sampling.temperature == 0.0) {
          best = better(best, Candidate(below, idOf(i)));
        } else if (below >= -reach) {
          let id = idOf(i);
          best = better(best, Candidate(below + noiseOf(id, position, shape.stream, sampling.seed), id));
        }
      }
    }
  }
  best = bestOfRun(best, thread);
  if (thread == 0u) {
    candidates[row * shape.groups + group.x] = best;
  }
}
