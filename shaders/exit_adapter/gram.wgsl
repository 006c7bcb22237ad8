// sums[i][j] += sum over rows r of left[r][i] * right[r][j]
//
// What a linear map is fitted by: left^T left (the Gram matrix) and left^T right, over the hidden states of many chunks of a
// text. The sums stay on the GPU from chunk to chunk.
//
// left:  [rows][leftStride] vec4, right: [rows][rightStride] vec4
// sums:  [4 * leftVectors][rightVectors] vec4
//
// A thread owns 4 x 4 of the sums, in registers, and walks down the rows: two vec4 loads for 16 multiplications, and threads beside each
// other load the same left and neighbouring rights. It is a part in some hundred of the forward pass that made the rows.
//
// Constants: WORKGROUP. Needs rows.wgsl.

struct Shape {
  leftVectors: u32,
  rightVectors: u32,
  leftStride: u32,  // vec4 from row to row
  rightStride: u32,
}

@group(0) @binding(0) var<uniform> range: RowRange;
@group(0) @binding(1) var<uniform> shape: Shape;
@group(0) @binding(2) var<storage, read> left: array<vec4f>;
@group(0) @binding(3) var<storage, read> right: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let j = id.x;
  let i = id.y;
  if (j >= shape.rightVectors || i >= shape.leftVectors) {
    return;
  }
  var own: array<vec4f, 4>;
  for (var r = range.first; r < range.first + range.count; r++) {
    let x = left[r * shape.leftStride + i];
    let y = right[r * shape.rightStride + j];
    own[0] += x.x * y;
    own[1] += x.y * y;
    own[2] += x.z * y;
    own[3] += x.w * y;
  }
  for (var k = 0u; k < 4u; k++) {
    let at = (4u * i + k) * shape.rightVectors + j;
    sums[at] += own[k];
  }
}
