// Closes a round: accepts the longest run of drafts that the full model agrees with, emits one token more, commits.
//
// A draft is accepted iff it equals the target's argmax (LayerSkip, Elhoushi et al. 2024, section 4.3, for greedy
// decoding). The token after the last accepted draft is the target's own: a correction where a draft was refused, a bonus
// where none was. The earliest EOS ends the generation there; what was accepted behind it is dropped.
//
// Committing is arithmetic: the keys and values of the accepted rows are in place (row i stands in slot length + i), those
// of the refused ones are past the new length and will be overwritten.
//
// The prefill ends with the same kernel: its last row is a round without drafts.
//
// One thread.
//
// Constants: ROW_CAPACITY, NONE and those of state.wgsl. Needs rows.wgsl and state.wgsl.

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> settings: Settings;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read_write> state: State;
@group(0) @binding(5) var<storage, read_write> report: Report;

fn isEos(id: u32) -> bool {
  for (var i = 0u; i < settings.eosCount; i++) {
    if (settings.eosIds[i / 4][i % 4] == id) {
      return true;
    }
  }
  return false;
}

@compute @workgroup_size(1)
fn main() {
  if (range.count == 0) {
    report.drafted = 0;
    report.accepted = 0;
    report.emitted = 0;
    report.finished = state.finished;
    return;
  }
  let drafted = range.count - 1;
  for (var i = 0u; i < drafted; i++) {
    report.draftIds[i] = rows[range.first + 1 + i].token;
  }

  var accepted = 0u;
  while (accepted < drafted && rows[range.first + 1 + accepted].token == targets[range.first + accepted]) {
    accepted++;
  }

  var emitted = 0u;
  var finished = RUNNING;
  while (emitted <= accepted && finished == RUNNING) {
    let id = targets[range.first + emitted];
    if (id == NONE) {
      finished = FAILED;
      break;
    }
    report.ids[emitted] = id;
    emitted++;
    state.pending = id;
    if (isEos(id)) {
      finished = STOPPED;
    }
  }

  state.length = rows[range.first].position + emitted;
  state.emitted += emitted;
  if (finished == RUNNING && (state.emitted >= settings.maxTokens || state.length + 1 >= settings.contextLength)) {
    finished = LENGTH_REACHED;
  }
  state.finished = finished;

  report.drafted = drafted;
  report.accepted = min(accepted, emitted);
  report.emitted = emitted;
  report.finished = finished;
  report.length = state.length;
}
