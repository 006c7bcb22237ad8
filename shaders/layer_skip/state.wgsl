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
  eosIds: array<vec4u, EOS_CAPACITY / 4>,
}

struct Report {
  drafted: u32,
  accepted: u32,
  // Tokens this round emitted: ids[0 .. emitted).
  emitted: u32,
  finished: u32,
  length: u32,
  ids: array<u32, ROW_CAPACITY>,
  draftIds: array<u32, ROW_CAPACITY>,
}
