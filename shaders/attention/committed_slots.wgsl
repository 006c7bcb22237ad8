// Shared by the attention kernels of prompts: where the keys that a row sees stand. All are found through the text's pages, those of the
// chunk too: none is in flight (key_slots.wgsl is for rows that are).
//
// Constants: NONE. Needs rows.wgsl, pages.wgsl and visible_keys.wgsl.

struct Sight {
  // Where the text's lane of the page table begins.
  pagesBegin: u32,
  linear: u32,
}

fn sightOf(row: u32) -> Sight {
  return Sight(rows[row].lane * shape.lanePages, NONE);
}

fn slotOf(sight: Sight, position: u32) -> u32 {
  return slotAt(sight.pagesBegin, position);
}
