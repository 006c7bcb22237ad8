// Shared: RMSNorm in the prologue of a matmul.        (Zhang and Sennrich 2019, equation 4)
//
// The input is the residual stream times the norm's weight, as add.wgsl left it; what is missing is the row's scale,
// 1 / sqrt(mean(x^2) + epsilon), one number that multiplies the finished sums. Every workgroup computes it from the residual
// stream itself, from the cache, in place of a dispatch and of a pass over memory. NORM_SHARES threads a row do it: fixed and
// few, so that tiles of 32 rows keep within their workgroup memory.
//
// A row's squares are summed in NORM_SHARES strided shares, then the shares in ascending order, whatever M is.
//
// Constants: M, NORM_SHARES, WORKGROUP. Needs matmul.wgsl.

var<workgroup> squares: array<f32, M * NORM_SHARES>;

fn begin(firstRow: u32, thread: u32) {
  for (var task = thread; task < M * NORM_SHARES; task += WORKGROUP) {
    let row = range.first + min(firstRow + task / NORM_SHARES, range.count - 1);
    var share = 0.0;
    for (var k = task % NORM_SHARES; k < shape.normVectors; k += NORM_SHARES) {
      let x = input[row * shape.inputStride + k];
      share += dot(x, x);
    }
    squares[task] = share;
  }
  workgroupBarrier();
}

fn normOf(r: u32) -> f32 {
  var sum = 0.0;
  for (var share = 0u; share < NORM_SHARES; share++) {
    sum += squares[r * NORM_SHARES + share];
  }
  return inverseSqrt(sum / f32(shape.normVectors * 4) + shape.epsilon);
}
