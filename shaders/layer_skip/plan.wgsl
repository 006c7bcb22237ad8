// Opens a round of one text or several: how many tokens each drafts, which rows each pass of the round works on.
//
// Each text has a lane: its state, its settings and its pages. A lane drafts d = min(draftLength, mostDrafts()): its verification
// emits at most d + 1. Where a tree is drafted, drafting/graft.wgsl adds its rows to these; such a round has one lane.
// A lane whose generation is finished gets no rows, so that a round recorded before the host knew of the end does nothing.
//
// Rows stand depth by depth, those of all lanes side by side, and lanes that draft more before those that draft less. So every
// draft step is a range without gaps, and no row is there that no lane needs (unpadded, as in EMS-SD, Ni et al. 2024):
//
//   lanes with 2, 1 and 0 drafts:   [ a0 b0 c0 | a1 b1 | a2 ]
//
// ranges: slot i is the rows of depth i, which draft or, of a lane that drafts no further, catch up with the early layers; below the
// greatest depth. VERIFY_EARLY is the rows of the greatest depth, which have not been through the early layers either; VERIFY is all.
//
// One thread: a handful of numbers.
//
// Constants: LANES, MAX_DRAFT_LENGTH, NONE, RANGE_VERIFY_EARLY, RANGE_VERIFY and those of state.wgsl. Needs rows.wgsl,
// pages.wgsl and state.wgsl.

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<storage, read> settings: array<LaneSettings>;
@group(0) @binding(2) var<storage, read> states: array<LaneState>;
@group(0) @binding(3) var<storage, read_write> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> ranges: array<RowRange>;
@group(0) @binding(5) var<storage, read> pages: array<u32>;

// Which lanes a round has.
struct Batch {
  count: u32,
  // Entries of the page table a lane.
  lanePages: u32,
  _pad0: u32,
  _pad1: u32,
  lanes: array<vec4u, LANES / 4>,
}

struct LaneSettings {
  @size(LANE_BYTES) settings: Settings,
}

struct LaneState {
  @size(LANE_BYTES) state: State,
}

@compute @workgroup_size(1)
fn main() {
  // The lanes that go on, those that draft most first; of equal ones, as the host has them.
  var lanes = array<u32, LANES>();
  var drafts = array<u32, LANES>();
  var open = 0u;
  for (var n = 0u; n < batch.count; n++) {
    let lane = batch.lanes[n / 4][n % 4];
    let state = states[lane].state;
    if (state.finished == RUNNING) {
      let asked = settings[lane].settings;
      let draftLength = min(min(asked.draftLength, MAX_DRAFT_LENGTH), mostDrafts(state, asked));
      var place = open;
      for (; place > 0 && drafts[place - 1] < draftLength; place--) {
        lanes[place] = lanes[place - 1];
        drafts[place] = drafts[place - 1];
      }
      lanes[place] = lane;
      drafts[place] = draftLength;
      open++;
    }
  }
  let longest = drafts[0];
  var early = RowRange(0, 0);
  var before = 0u; // the first row one less deep
  var first = 0u;
  for (var depth = 0u; depth <= MAX_DRAFT_LENGTH; depth++) {
    while (open > 0 && (depth > longest || drafts[open - 1] < depth)) {
      open--;
    }
    for (var n = 0u; n < open; n++) {
      let lane = lanes[n];
      let state = states[lane].state;
      let position = state.length + depth;
      rows[first + n] = Row(
        select(NONE, state.pending, depth == 0),
        position,
        slotAt(lane * batch.lanePages, position),
        select(before + n, NONE, depth == 0),
        lane,
        state.length + drafts[n] + 1,
        select(NONE, first + open + n, drafts[n] > depth),
      );
    }
    ranges[depth] = RowRange(first, select(0, open, depth < longest));
    if (depth == longest) {
      early = RowRange(first, open);
    }
    before = first;
    first += open;
  }
  ranges[RANGE_VERIFY_EARLY] = early;
  ranges[RANGE_VERIFY] = RowRange(0, first);
}
