// normed[r] = hidden[r] / sqrt(mean(hidden[r]^2) + epsilon) * weight        (Zhang and Sennrich 2019, equation 4)
//
// hidden: [rows][inputStride] vec4, normed: [rows][outputStride] vec4; weight: [size / 4] vec4. For the final norm: the norms
// within layers are part of the matmuls behind them (shaders/matmul/norm_scale.wgsl).
//
// One workgroup a row (row_scale.wgsl).
//
// Constants: WORKGROUP. Needs rows.wgsl and row_scale.wgsl.

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

fn normInput(at: u32) -> vec4f {
  return hidden[at];
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  let base = row * shape.inputStride;
  let scale = rowScale(base, thread);
  for (var k = thread; k < shape.vectors; k += WORKGROUP) {
    normed[row * shape.outputStride + k] = hidden[base + k] * scale * weight[k];
  }
}
