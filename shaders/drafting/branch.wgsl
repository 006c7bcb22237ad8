// Proposes the second choices of an early exit where it was unsure: leaves beside the drafts of the chain.
//
// The probability that the full model takes choice r after row i is taken to be softmax of the choices' ranks (a score and its
// noise), times that of all drafts before i being right. The treeSize likeliest are proposed, likeliest first. (Which branches
// pay most is EAGLE-2's question, Li et al. 2024; its answer is the same product.)
//
// tops: of row i, as exit_tops.wgsl left them; the row's draft is row i + 1
//
// One thread: a chain is short.
//
// Constants: ROW_CAPACITY, FOLLOWERS, NONE, RANGE_VERIFY, those of state.wgsl and of proposal.wgsl. Needs rows.wgsl, state.wgsl,
// best.wgsl and proposal.wgsl.

@group(0) @binding(0) var<uniform> settings: Settings;
@group(0) @binding(1) var<storage, read> tops: array<array<Candidate, FOLLOWERS>>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> ranges: array<RowRange>;
@group(0) @binding(4) var<storage, read_write> proposal: Proposal;

// Of each draft row: the probability of its next choice, and which that is.
var<workgroup> likely: array<f32, ROW_CAPACITY>;
var<workgroup> nextRank: array<u32, ROW_CAPACITY>;

@compute @workgroup_size(1)
fn main() {
  let drafts = max(ranges[RANGE_VERIFY].count, 1u) - 1;
  var reached = 1.0;
  for (var row = 0u; row < drafts; row++) {
    var sum = 0.0;
    for (var k = 0u; k < FOLLOWERS; k++) {
      sum += exp(tops[row][k].logit - tops[row][0].logit);
    }
    likely[row] = reached / sum; // of the first choice, the draft
    nextRank[row] = 0;
    reached *= 1.0 / sum;
    advance(row);
  }
  var count = 0u;
  while (count < min(settings.treeSize, PROPOSAL_CAPACITY)) {
    var best = NONE;
    for (var row = 0u; row < drafts; row++) {
      if (nextRank[row] < FOLLOWERS && (best == NONE || likely[row] > likely[best])) {
        best = row;
      }
    }
    if (best == NONE) {
      break;
    }
    proposal.nodes[count] = Node(tops[best][nextRank[best]].id, best);
    advance(best);
    count++;
  }
  proposal.count = count;
}

// On to the row's next choice.
fn advance(row: u32) {
  let rank = nextRank[row];
  nextRank[row] = rank + 1;
  if (rank + 1 < FOLLOWERS) {
    likely[row] *= exp(tops[row][rank + 1].logit - tops[row][rank].logit);
  }
  if (rank + 1 < FOLLOWERS && tops[row][rank + 1].id == NONE) {
    nextRank[row] = FOLLOWERS;
  }
}
