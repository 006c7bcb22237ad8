// Shared by the attention kernels: where the keys that a row sees stand.
//
// Those below the row's `linear` are found through its text's pages; those in flight through its ancestors, which makes a draft
// tree and a chain the same walk.
//
// Constants: NONE. Needs rows.wgsl, pages.wgsl and visible_keys.wgsl.

struct Sight {
  row: u32,
  // Where the text's lane of the page table begins.
  pagesBegin: u32,
  linear: u32,
}

fn sightOf(row: u32) -> Sight {
  return Sight(row, rows[row].lane * shape.lanePages, rows[row].linear);
}

// The slot that holds position `position` of the text that the row ends.
fn slotOf(sight: Sight, position: u32) -> u32 {
  if (position < sight.linear) {
    return slotAt(sight.pagesBegin, position);
  }
  var ancestor = sight.row;
  while (rows[ancestor].position > position && rows[ancestor].parent != NONE) {
    ancestor = rows[ancestor].parent;
  }
  return rows[ancestor].slot;
}
