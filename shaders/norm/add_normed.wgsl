// stream[r] += RMSNorm(product[r]) * weight        (the norm: Zhang and Sennrich 2019, equation 4)
//
// For blocks whose output is normed before it is added to the residual stream (Gemma 2 and 3, OLMo 2): the norm needs a sum
// over the whole output, so the block's last product cannot add it in its epilogue (shaders/matmul/add.wgsl does so else).
//
// product:    [rows][productStride] vec4
// weight:     [vectors] vec4
// nextWeight: [vectors] vec4, of the norm that comes next; any where nothing is normed next, as nothing reads the product
// stream:     [rows][2 * half] vec4: the residual stream, and the same times nextWeight
//
// One workgroup a row (row_scale.wgsl).
//
// Constants: WORKGROUP. Needs rows.wgsl and row_scale.wgsl.

struct Shape {
  vectors: u32,       // hiddenSize / 4
  epsilon: f32,
  productStride: u32, // vec4 from row to row
  half: u32,          // vec4 of a padded row of the stream
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> product: array<vec4f>;
@group(0) @binding(3) var<storage, read> weight: array<vec4f>;
@group(0) @binding(4) var<storage, read> nextWeight: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> stream: array<vec4f>;

fn normInput(at: u32) -> vec4f {
  return product[at];
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  if (group.x >= range.count) {
    return;
  }
  let row = range.first + group.x;
  let base = row * shape.productStride;
  let scale = rowScale(base, thread);
  for (var k = thread; k < shape.vectors; k += WORKGROUP) {
    let to = row * 2 * shape.half + k;
    let total = stream[to] + product[base + k] * scale * weight[k];
    stream[to] = total;
    stream[to + shape.half] = total * nextWeight[k];
  }
}
