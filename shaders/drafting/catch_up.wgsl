// Rows of the text that a second model has not seen: committed while others drafted.
//
// followed: tokens whose keys and values the second model has. The rows are the next ones of the text, as many as the table
// holds; where there are none, the range is empty.
//
// One thread.
//
// Constants: ROW_CAPACITY, NONE, RANGE_CATCH_UP and those of state.wgsl. Needs rows.wgsl, pages.wgsl and
// state.wgsl.

@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read> history: array<u32>;
@group(0) @binding(2) var<storage, read_write> followed: array<u32>;
@group(0) @binding(3) var<storage, read_write> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> ranges: array<RowRange>;
@group(0) @binding(5) var<storage, read> pages: array<u32>;
@group(0) @binding(6) var<uniform> settings: Settings;

@compute @workgroup_size(1)
fn main() {
  let first = min(followed[0], state.length);
  let count = min(ROW_CAPACITY, state.length - first);
  for (var i = 0u; i < count; i++) {
    let position = first + i;
    let parent = select(i - 1, NONE, i == 0);
    rows[i] = Row(history[position], position, slotAt(0, position), parent, settings.lane, first + count, NONE);
  }
  ranges[RANGE_CATCH_UP] = RowRange(0, count);
  followed[0] = first + count;
}
