// forked[r] = stream[r], and the same times a norm's weight
//
// An exit adapter goes on from the hidden state behind the layers that draft, on a stream of its own: the model's stays what
// the verification goes on from.
//
// stream, forked: [rows][2 * half] vec4, as shaders/matmul/add.wgsl keeps the residual stream
// normWeight:     [vectors] vec4, of the norm that comes next
//
// One thread a vec4: a copy, bound by bandwidth.
//
// Constants: WORKGROUP. Needs rows.wgsl.

struct Shape {
  vectors: u32, // hiddenSize / 4
  half: u32,    // vec4 of a padded row
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> stream: array<vec4f>;
@group(0) @binding(3) var<storage, read> normWeight: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> forked: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let k = id.x;
  if (k >= shape.vectors || id.y >= range.count) {
    return;
  }
  let at = (range.first + id.y) * 2 * shape.half + k;
  let x = stream[at];
  forked[at] = x;
  forked[at + shape.half] = x * normWeight[k];
}
