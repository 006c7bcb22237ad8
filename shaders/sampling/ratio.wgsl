// The ratio rule (Leviathan et al. 2023, section 2.3; LayerSkip, Elhoushi et al. 2024, section 4.3): after a row with a draft
// x behind it, the target is x where u < p(x) / q(x), else a sample of the residual max(p - q, 0); after the last row it is a
// sample of p. The accept kernel then works as ever: a refused draft has no residual, so target and draft differ.
//
// The distribution is the target's; the text depends on the drafter, unlike with pick.wgsl.
//
// A sample is an argmax of log probability + noise. Should rounding leave no residual at all (p = q to the last bits), the
// fallback is p's own sample: a rank lower than any residual's.
//
// scores, draftScores: [rows][count]; candidates: [rows][groups]. A workgroup takes a run of one row's ids
// (runs.wgsl).
//
// Constants: WORKGROUP, IDS_PER_THREAD, NONE. Needs rows.wgsl, scores.wgsl, noise.wgsl, best.wgsl and
// runs.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Scores;
@group(0) @binding(2) var<storage, read> samplings: array<Sampling>;
@group(0) @binding(3) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read> scores: array<f32>;
@group(0) @binding(5) var<storage, read> filters: array<Filter>;
@group(0) @binding(6) var<storage, read> draftScores: array<f32>;
@group(0) @binding(7) var<storage, read> draftFilters: array<Filter>;
@group(0) @binding(8) var<storage, read_write> candidates: array<Candidate>;

const FALLBACK = -10000.0;

fn probability(score: f32, rowFilter: Filter) -> f32 {
  return select(0.0, exp(score - rowFilter.peak) / rowFilter.mass, isAllowed(score, rowFilter));
}

fn isAccepted(row: u32, draft: u32) -> bool {
  let p = probability(scores[row * shape.count + draft], filters[row]);
  let q = probability(draftScores[row * shape.count + draft], draftFilters[row]);
  let word = philox(vec4u(0u, rows[row].position + 1u, STREAM_ACCEPT, 0u), sampling.seed).x;
  return (f32(word >> 8u) + 0.5) * 0x1p-24 * q < p;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.y >= range.count) {
    return;
  }
  let row = range.first + group.y;
  sampling = samplings[rows[row].lane];
  let rowFilter = filters[row];
  // A draft that is none, of an exit whose logits are no numbers, is no draft: p's own sample refuses it.
  var draft = NONE;
  if (group.y + 1u < range.count) {
    draft = rows[row + 1u].token;
  }
  let hasDraft = draft != NONE;
  let position = rows[row].position + 1u;
  var best = WORST;
  if (rowFilter.peak == NOT_FINITE_PEAK) {
    best = NOT_FINITE;
  } else if (hasDraft && isAccepted(row, draft)) {
    best = Candidate(0.0, draft);
  } else {
    let stream = select(STREAM_TARGET, STREAM_RESIDUAL, hasDraft);
    for (var k = 0u; k < IDS_PER_THREAD; k++) {
      let i = placeOf(group.x, k, thread);
      if (i < shape.count) {
        let p = probability(scores[row * shape.count + i], rowFilter);
        if (p > 0.0) {
          var q = 0.0;
          if (hasDraft) {
            q = probability(draftScores[row * shape.count + i], draftFilters[row]);
          }
          let noise = noiseOf(i, position, stream, sampling.seed);
          let weight = select(p, p - q, p > q);
          best = better(best, Candidate(log(weight) + noise + select(FALLBACK, 0.0, p > q), i));
        }
      }
    }
  }
  best = bestOfRun(best, thread);
  if (thread == 0u) {
    candidates[row * shape.groups + group.x] = best;
  }
}
