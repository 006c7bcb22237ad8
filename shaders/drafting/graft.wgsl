// Makes rows of what a drafter proposes: a tree grows on the pending token, or on a chain of drafts.
//
// Whatever is proposed, the rows are a tree that the verification can take: parents before their children; ids of the
// vocabulary; no path longer than what may be accepted; no more rows than planned, than the table has and than the context has
// slots for. The round has one lane, whose state, settings and pages are bound. What cannot be is dropped, with all that continues it. A child that its parent has already is that child, so
// drafters may propose paths that begin alike.
//
// A row of the tree stands in the slot of position `length + its number`. Rows that happen to be a chain stand where they belong.
//
// One thread: some thousand steps at most. (A row depends on those before it.)
//
// Constants: ROW_CAPACITY, NONE, RANGE_VERIFY_EARLY, RANGE_VERIFY, those of state.wgsl and of proposal.wgsl. Needs rows.wgsl,
// pages.wgsl, state.wgsl and proposal.wgsl.

@group(0) @binding(0) var<uniform> settings: Settings;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> proposal: Proposal;
@group(0) @binding(3) var<storage, read_write> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> ranges: array<RowRange>;
@group(0) @binding(5) var<storage, read> pages: array<u32>;

// The row that each node became; NONE: it was dropped.
var<workgroup> rowOf: array<u32, PROPOSAL_CAPACITY>;

@compute @workgroup_size(1)
fn main() {
  let chain = ranges[RANGE_VERIFY].count;
  if (chain == 0) {
    return;
  }
  let longest = mostDrafts(state, settings);
  let most = min(min(ROW_CAPACITY, chain + settings.treeSize), settings.contextLength - state.length);
  var count = chain;
  var isChain = true;
  for (var i = 0u; i < min(proposal.count, PROPOSAL_CAPACITY); i++) {
    let node = proposal.nodes[i];
    var row = NONE;
    let parent = parentOf(node.parent, i, chain);
    if (parent != NONE && node.token < settings.vocabSize) {
      row = childOf(parent, node.token, count);
      if (row == NONE && count < most && rows[parent].position - state.length < longest) {
        row = count;
        let position = rows[parent].position + 1;
        rows[row] = Row(node.token, position, slotAt(0, state.length + row), parent, rows[0].lane, 0, NONE);
        isChain = isChain && parent == row - 1;
        count++;
      }
    }
    rowOf[i] = row;
  }
  let linear = state.length + select(0, count, isChain);
  for (var row = 0u; row < count; row++) {
    rows[row].linear = linear;
  }
  ranges[RANGE_VERIFY_EARLY] = RowRange(chain - 1, count - chain + 1);
  ranges[RANGE_VERIFY] = RowRange(0, count);
}

fn parentOf(parent: u32, node: u32, chain: u32) -> u32 {
  if (parent < chain) {
    return parent;
  }
  if (parent >= PROPOSED && parent - PROPOSED < node) {
    return rowOf[parent - PROPOSED];
  }
  return NONE;
}

// The row among the first `count` that drafts `token` behind row `parent`; NONE: there is none.
fn childOf(parent: u32, token: u32, count: u32) -> u32 {
  for (var row = parent + 1; row < count; row++) {
    if (rows[row].parent == parent && rows[row].token == token) {
      return row;
    }
  }
  return NONE;
}
