// Shared: every id is scored, in order.

fn idOf(i: u32) -> u32 {
  return i;
}

fn indexOf(id: u32) -> u32 {
  return id;
}
