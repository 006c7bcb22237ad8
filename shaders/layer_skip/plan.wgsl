// Opens a round: how many tokens to draft, which rows each pass of the round works on.
//
// d = min(draftLength, mostDrafts()): the verification emits at most d + 1. Where a tree is drafted, drafting/graft.wgsl adds
// its rows to these.
// A finished generation gets ranges of no rows, so that a round recorded before the host knew of the end does nothing.
//
// ranges: slot i drafts row i (i < d, else no row); VERIFY_EARLY is row d, the last draft, which has not been through the
// early layers; VERIFY is rows 0 to d.
//
// One thread: a handful of numbers.
//
// Constants: MAX_DRAFT_LENGTH, NONE, RANGE_VERIFY_EARLY, RANGE_VERIFY and those of state.wgsl. Needs rows.wgsl,
// pages.wgsl and state.wgsl.

@group(0) @binding(0) var<uniform> settings: Settings;
@group(0) @binding(1) var<storage, read> state: State;
@group(0) @binding(2) var<storage, read_write> rows: array<Row>;
@group(0) @binding(3) var<storage, read_write> ranges: array<RowRange>;
@group(0) @binding(4) var<storage, read> pages: array<u32>;

@compute @workgroup_size(1)
fn main() {
  let open = select(0u, 1u, state.finished == RUNNING);
  var draftLength = 0u;
  if (open == 1) {
    draftLength = min(min(settings.draftLength, MAX_DRAFT_LENGTH), mostDrafts(state, settings));
  }
  let end = state.length + draftLength + 1;
  for (var i = 0u; i <= MAX_DRAFT_LENGTH; i++) {
    let position = state.length + i;
    rows[i] = Row(select(NONE, state.pending, i == 0), position, slotAt(position), select(i - 1, NONE, i == 0));
    ranges[i] = RowRange(i, select(0u, 1u, i < draftLength), end);
  }
  ranges[RANGE_VERIFY_EARLY] = RowRange(draftLength, open, end);
  ranges[RANGE_VERIFY] = RowRange(0, open * (draftLength + 1), end);
}
