// Prompt lookup: what followed the text's last tokens where they stood before may follow them again (Saxena 2023; LLMA, Yang et
// al. 2023).
//
// A place j matches with length m where history[j - m + 1 .. j] are the text's last m tokens. The MATCHES best places, the
// longest matches first and of equal ones the latest, propose what follows them; graft.wgsl makes one tree of their paths. Ours:
// several matches at once, and how many tokens each may propose: a token that follows a match of m tokens is taken to be right
// with probability m / (m + 1), and nodes are proposed in the order of the products, down to LEAST. A path that reaches the
// text's end goes on with what it has proposed: the text repeats itself.
//
// history: the text, the pending token at state.length
//
// One workgroup: each thread searches every WORKGROUP-th place, thread 0 merges what they found.
//
// Constants: WORKGROUP, NONE, MATCHES, LONGEST_MATCH and those of state.wgsl and of proposal.wgsl. Needs state.wgsl and
// proposal.wgsl.

@group(0) @binding(0) var<uniform> settings: Settings;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read> history: array<u32>;
@group(0) @binding(3) var<storage, read_write> proposal: Proposal;

const LEAST = 0.06;

struct Match {
  length: u32,
  place: u32,
}

// The best of each thread, best first.
var<workgroup> found: array<array<Match, MATCHES>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) thread: u32) {
  let end = state.length;
  var best = array<Match, MATCHES>();
  for (var place = thread; place < end; place += WORKGROUP) {
    insert(&best, Match(matchLength(place, end), place));
  }
  found[thread] = best;
  workgroupBarrier();
  if (thread > 0) {
    return;
  }
  for (var t = 1u; t < WORKGROUP; t++) {
    for (var i = 0u; i < MATCHES; i++) {
      insert(&best, found[t][i]);
    }
  }
  propose(best, end);
}

fn matchLength(place: u32, end: u32) -> u32 {
  let most = min(LONGEST_MATCH, place + 1);
  var length = 0u;
  while (length < most && history[place - length] == history[end - length]) {
    length++;
  }
  return length;
}

fn insert(best: ptr<function, array<Match, MATCHES>>, found: Match) {
  var next = found;
  for (var i = 0u; i < MATCHES; i++) {
    let other = (*best)[i];
    if (next.length > other.length || (next.length == other.length && next.length > 0 && next.place > other.place)) {
      (*best)[i] = next;
      next = other;
    }
  }
}

fn propose(matches: array<Match, MATCHES>, end: u32) {
  var following = matches;
  // Of each match: how probable its next token is taken to be, how many it has proposed, and its last node.
  var probability = array<f32, MATCHES>();
  var proposed = array<u32, MATCHES>();
  var last = array<u32, MATCHES>();
  for (var i = 0u; i < MATCHES; i++) {
    probability[i] = rightOf(following[i].length) / f32(i + 1);
  }
  let most = min(PROPOSAL_CAPACITY, 2 * settings.treeSize);
  var count = 0u;
  while (count < most) {
    var next = 0u;
    for (var i = 1u; i < MATCHES; i++) {
      if (probability[i] > probability[next]) {
        next = i;
      }
    }
    if (probability[next] < LEAST) {
      break;
    }
    let place = following[next].place;
    let token = history[place + 1 + proposed[next] % (end - place)];
    proposal.nodes[count] = Node(token, select(PROPOSED + last[next], 0u, proposed[next] == 0));
    last[next] = count;
    proposed[next]++;
    probability[next] *= rightOf(following[next].length);
    count++;
  }
  proposal.count = count;
}

fn rightOf(matched: u32) -> f32 {
  return f32(matched) / f32(matched + 1);
}
