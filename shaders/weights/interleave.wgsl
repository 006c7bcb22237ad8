// Lays a run of a matrix's rows, as a checkpoint stores them, into the layout of the few-row matmul.
//
// source: [rows][K] row by row, f32, f16 or bf16 as it stands in the file (two 16-bit numbers a word, little endian)
// weight: [K / 4][weightColumns] vec4 of f32: row n of the source becomes column firstColumn + n
//
// f16 and bf16 widen to f32 exactly. One thread a vec4; K is a multiple of 4. A norm's vector is a matrix of one row.
//
// Constants: ELEMENT_F32, ELEMENT_F16, ELEMENT_BF16 (exactly one is 1), VECTOR_STRIDE (workgroups in y), WORKGROUP.

struct Shape {
  rows: u32,
  inputVectors: u32, // K / 4
  firstColumn: u32,
  weightColumns: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> weight: array<vec4f>;

// From the bits: the built-in unpack2x16float may flush subnormals to zero.
fn fromF16(bits: u32) -> f32 {
  let sign = (bits & 0x8000u) << 16;
  let exponent = (bits >> 10) & 31u;
  let fraction = bits & 0x3ffu;
  if (exponent == 0) {
    return bitcast<f32>(sign | bitcast<u32>(f32(fraction) * 5.9604644775390625e-8)); // 2^-24
  }
  // The bias grows from 15 to 127; the largest exponent stays the largest (infinities, NaN).
  let widened = select(exponent + 112, 255u, exponent == 31);
  return bitcast<f32>(sign | (widened << 23) | (fraction << 13));
}

fn element(index: u32) -> f32 {
  if (ELEMENT_F32 == 1) {
    return bitcast<f32>(source[index]);
  }
  let bits = (source[index / 2] >> (16 * (index % 2))) & 0xffffu;
  if (ELEMENT_F16 == 1) {
    return fromF16(bits);
  }
  return bitcast<f32>(bits << 16);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= shape.rows) {
    return;
  }
  for (var k = id.y; k < shape.inputVectors; k += VECTOR_STRIDE) {
    let at = (row * shape.inputVectors + k) * 4;
    weight[k * shape.weightColumns + shape.firstColumn + row] =
      vec4f(element(at), element(at + 1), element(at + 2), element(at + 3));
  }
}
