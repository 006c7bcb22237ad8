// Shared: what a row is, and which rows a dispatch works on.
//
// A forward pass works on rows of the row table. A dispatch covers the rows [range.first, range.first + range.count);
// both numbers are on the GPU, so the host records the same commands whatever the round decides, and a range of no rows
// makes a dispatch return at once. Activations are indexed by the row's number in the table: the residual stream of row r
// stays at row r from the embedding to the head.
//
// Constants: NONE, the id and row number that stand for "none".

struct Row {
  token: u32,
  // Position in the sequence: what RoPE and the causal mask see.
  position: u32,
  // Slot of the KV cache that holds this row's keys and values.
  slot: u32,
  // The row in flight that this row continues; NONE when it continues the committed sequence.
  parent: u32,
  // The text that it belongs to, of those that are worked on at a time.
  lane: u32,
  // Positions below this are found through the text's pages (pages.wgsl), those at or past it through the rows' parents.
  linear: u32,
  // The row in a chain of drafts that continues this one; NONE: there is none.
  child: u32,
}

// 256 bytes, the largest alignment a device may ask of a uniform's offset.
struct RowRange {
  first: u32,
  @size(252) count: u32,
}
