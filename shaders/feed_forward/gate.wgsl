// output[r][n] = activation(gate) * up       (SwiGLU, GEGLU: Shazeer 2020, equation 6)
//
// For gate and up that are products of their own, since their weights are of different formats (shaders/matmul/gated.wgsl
// does this in the epilogue of one product else).
//
// products: [rows][2][vectors] vec4: gate, and up behind it
// output:   [rows][outputStride] vec4
//
// One thread a vec4: reads and writes are contiguous, and there is nothing to share.
//
// Constants: WORKGROUP. Needs rows.wgsl and silu.wgsl or gelu_tanh.wgsl.

struct Shape {
  vectors: u32,      // intermediateSize / 4
  outputStride: u32, // vec4 from row to row
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> products: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= shape.vectors || id.y >= range.count) {
    return;
  }
  let row = range.first + id.y;
  let gate = products[row * 2 * shape.vectors + id.x];
  let up = products[(row * 2 + 1) * shape.vectors + id.x];
  let gated = vec4f(activation(gate.x), activation(gate.y), activation(gate.z), activation(gate.w));
  output[row * shape.outputStride + id.x] = gated * up;
}
