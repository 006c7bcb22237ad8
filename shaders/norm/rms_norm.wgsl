// normed[r] = hidden[r] / sqrt(mean(hidden[r]^2) + epsilon) * weight        (Zhang and Sennrich 2019, equation 4)
//
// hidden: [rows][inputStride] vec4, normed: [rows][outputStride] vec4; weight: [size / 4] vec4. For the final norm: the norms
// within layers are part of the matmuls behind them (shaders/matmul/norm_scale.wgsl).
//
// One workgroup a row. Each thread sums its strided share of the squares; after the only barrier every thread adds the
// shares in the same order, so all see the same sum and no reduction tree is needed. A row's sum depends on nothing but
// the row: the same bits whatever the other rows are.
//
// Constants: WORKGROUP. Needs rows.wgsl.

struct Shape {
  vectors: u32, // size / 4
  epsilon: f32,
  inputStride: u32,
  outputStride: u32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> hidden: array<vec4f>;
@group(0) @binding(3) var<storage, read> weight: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> normed: array<vec4f>;

var<workgroup> shares: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  let base = row * shape.inputStride;
  var share = 0.0;
  for (var k = thread; k < shape.vectors; k += WORKGROUP) {
    let x = hidden[base + k];
    share += dot(x, x);
  }
  shares[thread] = share;
  workgroupBarrier();

  var sum = 0.0;
  for (var t = 0u; t < WORKGROUP; t++) {
    sum += shares[t];
  }
  let scale = inverseSqrt(sum / f32(shape.vectors * 4) + shape.epsilon);
  for (var k = thread; k < shape.vectors; k += WORKGROUP) {
    normed[row * shape.outputStride + k] = hidden[base + k] * scale * weight[k];
  }
}
