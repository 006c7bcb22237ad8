// Shared: where the keys and values of a position stand.
//
// The KV cache is cut into pages of PAGE_SLOTS slots, which texts share. The text that is worked on has a page for every
// PAGE_SLOTS positions: page number n of it, pages[n] of the cache. (Paged attention: Kwon et al. 2023, section 4.1.)
//
// The indirection is one load a key, of a table of some hundred words that stays in the cache.
//
// Constants: PAGE_SLOTS. Needs of the kernel `pages`.

fn slotAt(position: u32) -> u32 {
  return pages[position / PAGE_SLOTS] * PAGE_SLOTS + position % PAGE_SLOTS;
}
