// Shared: the scale of a row's RMSNorm, 1 / sqrt(mean(x^2) + epsilon).        (Zhang and Sennrich 2019, equation 4)
//
// A workgroup works on one row. Each thread sums its strided share of the squares; after the only barrier every thread adds
// the shares in the same order, so all see the same sum and no reduction tree is needed. A row's sum depends on nothing but
// the row: the same bits whatever the other rows are.
//
// Needs of its kernel: `normInput(at)`, the vec4 at a place of the input, and a `Shape` with `vectors` and `epsilon`.
//
// Constants: WORKGROUP.

var<workgroup> shares: array<f32, WORKGROUP>;

// base: where the row begins. Called by all threads of the workgroup.
fn rowScale(base: u32, thread: u32) -> f32 {
  var share = 0.0;
  for (var k = thread; k < shape.vectors; k += WORKGROUP) {
    let x = normInput(base + k);
    share += dot(x, x);
  }
  shares[thread] = share;
  workgroupBarrier();

  var sum = 0.0;
  for (var t = 0u; t < WORKGROUP; t++) {
    sum += shares[t];
  }
  return inverseSqrt(sum / f32(shape.vectors * 4) + shape.epsilon);
}
