// Shared: some ids are scored, those of a table in ascending order.
//
// Constants: HOT_BINDING, the number of the binding behind those of the kernel.

@group(0) @binding(HOT_BINDING) var<storage, read> hotIds: array<u32>;

fn idOf(i: u32) -> u32 {
  return hotIds[i];
}

// The place of an id in the table; of one that it has not, of the next one.
fn indexOf(id: u32) -> u32 {
  var low = 0u;
  var high = arrayLength(&hotIds);
  while (low + 1u < high) {
    let middle = (low + high) / 2u;
    if (hotIds[middle] <= id) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}
