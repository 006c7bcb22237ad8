// Token Recycling (Luo et al. 2024): a tree of what followed each token lately.
//
// followers: [vocabulary][FOLLOWERS] ids, the likeliest first; NONE where nothing is known (top_ids.wgsl fills it)
// template:  the nodes of the tree, parents before children: which follower of which node each is
//
// The tree grows on the round's last row: the pending token, or the last of the drafts by layers (Ouroboros, Zhao et al. 2024,
// whose phrases these are). Nodes without a follower propose NONE, which graft.wgsl drops with what continues it.
//
// One workgroup, a thread a node, a level of the tree after the other.
//
// Constants: WORKGROUP, NONE, FOLLOWERS, RANGE_VERIFY, those of state.wgsl and of proposal.wgsl. Needs rows.wgsl and
// proposal.wgsl.

struct Template {
  count: u32, // of nodes, at most WORKGROUP
  depth: u32,
  nodes: array<vec4u, WORKGROUP / 4>, // parent node (0xff: the row) | rank << 8 | depth << 16
}

@group(0) @binding(0) var<uniform> shape: Template;
@group(0) @binding(1) var<storage, read> followers: array<array<u32, FOLLOWERS>>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> ranges: array<RowRange>;
@group(0) @binding(4) var<storage, read_write> proposal: Proposal;

var<workgroup> tokens: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) thread: u32) {
  let row = max(ranges[RANGE_VERIFY].count, 1u) - 1;
  let node = shape.nodes[thread / 4][thread % 4];
  let parent = node & 0xffu;
  for (var depth = 1u; depth <= shape.depth; depth++) {
    if (thread < shape.count && node >> 16 == depth) {
      let before = select(tokens[min(parent, WORKGROUP - 1)], rows[row].token, parent == 0xffu);
      var token = NONE;
      if (before < arrayLength(&followers)) {
        token = followers[before][(node >> 8) & 0xffu];
      }
      tokens[thread] = token;
      proposal.nodes[thread] = Node(token, select(PROPOSED + parent, row, parent == 0xffu));
    }
    workgroupBarrier();
  }
  if (thread == 0) {
    proposal.count = shape.count;
  }
}
