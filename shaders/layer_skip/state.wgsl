// Shared: the state of a generation, what was asked of it, and what a round reports. All of it lives on the GPU; the host
// reads only `Report`.
//
// Constants: ROW_CAPACITY, RUNNING, STOPPED, LENGTH_REACHED, FAILED, EOS_CAPACITY.

struct State {
  // Tokens whose keys and values are committed. Rolling back is setting this number.
  length: u32,
  // The last emitted token. It has no keys and values yet: the next round's row 0 computes them.
  pending: u32,
  // Tokens emitted since the generation began.
  emitted: u32,
  // RUNNING, STOPPED (an EOS id), LENGTH_REACHED (maxTokens or the context's end) or FAILED (logits not finite).
  finished: u32,
}

struct Settings {
  draftLength: u32,
  maxTokens: u32,
  // Tokens the context holds: committed, pending and new ones together.
  contextLength: u32,
  eosCount: u32,
  // Drafting stops behind a draft that is less probable than this, where probabilities are computed.
  leastProbability: f32,
  // Rows that may be added to the chain of drafts: of a tree, or all of it where nothing is drafted by layers.
  treeSize: u32,
  vocabSize: u32,
  // The text's, among those that are worked on at a time.
  lane: u32,
  eosIds: array<vec4u, EOS_CAPACITY / 4>,
}

// Drafts, one behind the other, that a round of a running generation may accept: the round emits one token more, no more
// than are wanted and than the context holds.
fn mostDrafts(state: State, settings: Settings) -> u32 {
  let wanted = settings.maxTokens - state.emitted;
  let room = settings.contextLength - (state.length + 1);
  return min(wanted, room) - 1;
}

// What is told of a round lies at the front, so that the host reads no more than the round's rows can fill.
struct Report {
  drafted: u32,
  accepted: u32,
  // Tokens this round emitted.
  emitted: u32,
  finished: u32,
  length: u32,
  lines: array<ReportLine, ROW_CAPACITY>,
}

struct ReportLine {
  // The token that was emitted as number i, and the row that chose it.
  id: u32,
  row: u32,
  // The draft of row i + 1, and the row that it continues.
  draftId: u32,
  draftParent: u32,
}

// Where the keys and values of what was accepted stand, and where they belong: token k of the path goes from slots[k] to
// places[k].
struct Path {
  // 0 where all is in place.
  count: u32,
  slots: array<u32, ROW_CAPACITY>,
  places: array<u32, ROW_CAPACITY>,
}
