// Shared: what a drafter proposes, a tree of tokens.
//
// It may be anything: graft.wgsl makes rows of what is possible and drops the rest.
//
// Constants: PROPOSAL_CAPACITY, PROPOSED.

struct Proposal {
  count: u32,
  _pad: u32,
  nodes: array<Node, PROPOSAL_CAPACITY>,
}

struct Node {
  token: u32,
  // What it continues: a row that is there already (0: the pending token, i: the i-th draft of the chain), or PROPOSED + the
  // number of a node before it.
  parent: u32,
}
