// Shared: how a generation samples, and what stands between logits and a choice.
//
//   logits --adjust--> scores --filter--> which ids are allowed --pick--> the id
//
// A score is a logit after bias, penalties and temperature. Filters look at a score's distance below the row's peak: it is
// not negative, so its bits order as the number does, and a threshold on the bits is a threshold on the score.
//
// A row whose logits are not all finite has no choice: its peak is NOT_FINITE_PEAK and it selects NONE.
//
// Constants: NONE.

struct Sampling {
  seed: vec2u,
  // 0: the largest score is chosen, without noise and filters.
  temperature: f32,
  repetitionPenalty: f32,
  frequencyPenalty: f32,
  presencePenalty: f32,
  // 0: no limit.
  topK: u32,
  // 1: no limit.
  topP: f32,
  // The largest distance that min-p admits: -log(minP), as bits; 0xffffffff: no limit.
  minPDistance: u32,
  // 1: no limit.
  typicalP: f32,
  // Whether there is a bias or a penalty at all.
  biased: u32,
  penalised: u32,
  // Ids of `bias` and `counts` of one text.
  vocabSize: u32,
}

// How the text of this row samples: kernels set it before anything else, from samplings[lane].
var<private> sampling: Sampling;

// Of one of the two sides, draft and target.
struct Scores {
  // Ids scored.
  count: u32,
  // Workgroups of adjust.wgsl and pick.wgsl that share a row.
  groups: u32,
  // Which noise the side draws (noise.wgsl).
  stream: u32,
  // Whether filter.wgsl sums up what it allows: for probabilities.
  wantsMass: u32,
}

struct Filter {
  // The row's largest score.
  peak: f32,
  // Allowed: the distance below the peak is at most this, as bits ...
  farthest: u32,
  // ... and differs from the centre by at most this, as bits (typical-p).
  centre: f32,
  spread: u32,
  // Sum of exp(-distance) over what is allowed, where it is wanted.
  mass: f32,
  _pad0: u32,
  _pad1: u32,
  _pad2: u32,
}

const BANNED = -3e38;
const NOT_FINITE_PEAK = 3.4028234e38;
const NO_LIMIT = 0xffffffffu;

fn isBanned(score: f32) -> bool {
  return score < 0.5 * BANNED;
}

// Order of a score within its row: 0 is the peak's, NO_LIMIT that of a banned id.
fn distanceKey(score: f32, peak: f32) -> u32 {
  return select(bitcast<u32>(peak - score), NO_LIMIT, isBanned(score));
}

fn isAllowed(score: f32, filter_: Filter) -> bool {
  return !isBanned(score) && distanceKey(score, filter_.peak) <= filter_.farthest &&
    bitcast<u32>(abs(filter_.peak - score - filter_.centre)) <= filter_.spread;
}
