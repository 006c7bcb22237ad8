// Shared: where the keys and values of a position stand.
//
// The KV cache is cut into pages of PAGE_SLOTS slots, which texts share. A text that is worked on has a lane of the page table:
// positions n * PAGE_SLOTS, ... of it stand in page pages[begin + n] of the cache, where `begin` is that of its lane. (Paged
// attention: Kwon et al. 2023, section 4.1.)
//
// The indirection is one load a key, of a table of some hundred words that stays in the cache.
//
// Constants: PAGE_SLOTS. Needs of the kernel `pages`.

fn slotAt(begin: u32, position: u32) -> u32 {
  return pages[begin + position / PAGE_SLOTS] * PAGE_SLOTS + position % PAGE_SLOTS;
}
