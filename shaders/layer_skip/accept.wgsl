// Closes a round: accepts the longest path of drafts that the full model agrees with, emits one token more, commits.
//
// A draft is accepted iff it is what the full model chose after the row that it continues (LayerSkip, Elhoushi et al. 2024,
// section 4.3, for greedy decoding; SpecInfer, Miao et al. 2023, for trees). The token after the last accepted
// draft is the target's own: a correction where drafts were refused, a bonus where none was left. The earliest EOS ends the
// generation there; what was accepted behind it is dropped.
//
// Committing is arithmetic where the path is a chain: row i stands where position length + i belongs. Of a tree's path it is told which slots
// have to move (commit.wgsl). The keys and values of refused rows are past the new length and will be overwritten.
//
// Parents stand before their children, so the search for a child goes forward only. The prefill ends with the same kernel:
// its last row is a round without drafts. Of a round of several texts it is dispatched for each, with that one's state: other
// lanes' rows are nobody's.
//
// One thread.
//
// Constants: ROW_CAPACITY, NONE and those of state.wgsl. Needs rows.wgsl, pages.wgsl and state.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> settings: Settings;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read_write> state: State;
@group(0) @binding(5) var<storage, read_write> report: Report;
@group(0) @binding(6) var<storage, read_write> path: Path;
// The text: the token at each position, the pending one last.
@group(0) @binding(7) var<storage, read_write> history: array<u32>;
@group(0) @binding(8) var<storage, read> pages: array<u32>;

fn isEos(id: u32) -> bool {
  for (var i = 0u; i < settings.eosCount; i++) {
    if (settings.eosIds[i / 4][i % 4] == id) {
      return true;
    }
  }
  return false;
}

// The row that drafts `id` behind row `parent`; NONE: there is none.
fn childOf(parent: u32, id: u32) -> u32 {
  for (var row = parent + 1; row < range.first + range.count; row++) {
    if (rows[row].parent == parent && rows[row].token == id) {
      return row;
    }
  }
  return NONE;
}

// Which of the text's own rows each row is: 0 continues the committed sequence, i is the i-th draft.
var<private> numberOf: array<u32, ROW_CAPACITY>;

@compute @workgroup_size(1)
fn main() {
  path.count = 0;
  var root = NONE;
  var own = 0u;
  for (var i = 0u; i < range.count; i++) {
    let row = rows[range.first + i];
    if (row.lane == settings.lane) {
      numberOf[i] = own;
      if (own == 0) {
        root = range.first + i;
      } else {
        report.lines[own - 1].draftId = row.token;
        report.lines[own - 1].draftParent = numberOf[row.parent - range.first];
      }
      own++;
    }
  }
  if (root == NONE) {
    report.drafted = 0;
    report.accepted = 0;
    report.emitted = 0;
    report.finished = state.finished;
    return;
  }
  let first = rows[root].position;
  var row = root;
  var accepted = 0u;
  var emitted = 0u;
  var inPlace = true;
  var finished = RUNNING;
  while (row != NONE && finished == RUNNING) {
    let id = targets[row];
    if (id == NONE) {
      finished = FAILED;
      break;
    }
    report.lines[emitted].id = id;
    report.lines[emitted].row = numberOf[row - range.first];
    let place = slotAt(0, first + emitted);
    path.slots[emitted] = rows[row].slot;
    path.places[emitted] = place;
    inPlace = inPlace && rows[row].slot == place;
    emitted++;
    history[first + emitted] = id;
    state.pending = id;
    if (isEos(id)) {
      finished = STOPPED;
    }
    row = childOf(row, id);
    accepted += select(1u, 0u, row == NONE);
  }
  path.count = select(emitted, 0u, inPlace);

  state.length = first + emitted;
  state.emitted += emitted;
  if (finished == RUNNING && (state.emitted >= settings.maxTokens || state.length + 1 >= settings.contextLength)) {
    finished = LENGTH_REACHED;
  }
  state.finished = finished;

  report.drafted = own - 1;
  report.accepted = accepted;
  report.emitted = emitted;
  report.finished = finished;
  report.length = state.length;
}
