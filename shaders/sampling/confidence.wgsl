// probabilities[r] = the probability of the draft after row r under the draft's own distribution; and where it is below
// settings.leastProbability, the round drafts no further: later draft steps get ranges of no rows, the verification ends with
// the row of this draft.
//
// One thread. It takes its row by number and not through a range, since it writes the ranges.
//
// Constants: NONE, ROW_CAPACITY, RANGE_VERIFY_EARLY, RANGE_VERIFY and those of state.wgsl. Needs rows.wgsl, state.wgsl,
// scores.wgsl and an ids_*.wgsl.

struct Step {
  @size(256) row: u32,
}

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> shape: Scores;
@group(0) @binding(2) var<uniform> settings: Settings;
@group(0) @binding(3) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read> scores: array<f32>;
@group(0) @binding(5) var<storage, read> filters: array<Filter>;
@group(0) @binding(6) var<storage, read_write> ranges: array<RowRange>;
@group(0) @binding(7) var<storage, read_write> probabilities: array<f32>;

@compute @workgroup_size(1)
fn main() {
  if (ranges[step.row].count == 0u) {
    return;
  }
  let id = rows[step.row + 1u].token;
  let rowFilter = filters[step.row];
  var probability = 0.0;
  if (id != NONE) {
    probability = exp(scores[step.row * shape.count + indexOf(id)] - rowFilter.peak) / rowFilter.mass;
  }
  probabilities[step.row] = probability;
  if (probability < settings.leastProbability) {
    for (var i = step.row + 1u; i < ROW_CAPACITY; i++) {
      ranges[i].count = 0u;
    }
    ranges[RANGE_VERIFY_EARLY].first = step.row + 1u;
    ranges[RANGE_VERIFY].count = step.row + 2u;
  }
}
