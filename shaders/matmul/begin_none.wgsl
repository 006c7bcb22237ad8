// Shared: a form that begins with nothing; its input is taken as it is.

fn begin(firstRow: u32, thread: u32) {}

fn normOf(r: u32) -> f32 {
  return 1.0;
}
