// Shared: nothing is left to do for a workgroup whose outputs are finished.

fn complete(firstRow: u32, thread: u32, group: u32) {}
