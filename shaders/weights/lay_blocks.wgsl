// Lays a run of a file's rows into a matrix of block codes (formats/README.md).
//
// weight: [ceil(K / step)][columns] 16-byte steps; codes behind the end of a column are 0
// scales: as the format's scale_*.wgsl reads them; those of blocks behind the end of a column are 0
//
// Where scales and codes come from, another piece says (quantise/quantise.wgsl, gguf/move_blocks.wgsl):
// - `storedBlock(row, first, end)`: scale and minimum of the block of vec4 [first, end) of a row, as they are stored
// - `storedCodes(row, vector, stored)`: the codes of vec4 `vector` of a row, as they are stored
//
// One thread a column and unit: the least run of elements that is whole steps, whole blocks and whole words of scales, so
// that no two threads write one word.
//
// Constants: VECTORS (vec4 a step), CODE_BITS, BLOCK_VECTORS (vec4 a block), UNIT_BLOCKS, UNIT_STEPS, MINIMUM (1: blocks
// have one), SCALE_F16 (1: scales and minima are f16), WORKGROUP. Needs source.wgsl.

@group(0) @binding(2) var<storage, read_write> weight: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = id.x;
  if (row >= shape.rows) {
    return;
  }
  let column = columnOf(row);
  let steps = (shape.inputVectors + VECTORS - 1) / VECTORS;
  let units = (steps + UNIT_STEPS - 1) / UNIT_STEPS;
  for (var unit = id.y; unit < units; unit += groups.y) {
    // Spelt out: without an initialiser SwiftShader keeps what the walk before left there.
    var codes = array<vec4u, UNIT_STEPS>();
    var pair = 0u;
    for (var i = 0u; i < UNIT_BLOCKS; i++) {
      let block = unit * UNIT_BLOCKS + i;
      let first = block * BLOCK_VECTORS;
      let end = min(first + BLOCK_VECTORS, shape.inputVectors);
      var stored = vec2u(0);
      if (first < end) {
        stored = storedBlock(row, first, end);
      }
      for (var vector = first; vector < end; vector++) {
        let place = i * BLOCK_VECTORS + vector - first;
        codes[place / VECTORS] |= storedCodes(row, vector, stored) << vec4u(CODE_BITS * (place % VECTORS));
      }
      let at = block * shape.columns + column;
      if (MINIMUM == 1 && SCALE_F16 == 1) {
        scales[at] = stored.x | (stored.y << 16);
      } else if (MINIMUM == 1) {
        scales[2 * at] = stored.x;
        scales[2 * at + 1] = stored.y;
      } else if (SCALE_F16 == 1) {
        pair |= stored.x << (16 * i);
      } else {
        scales[at] = stored.x;
      }
    }
    if (MINIMUM == 0 && SCALE_F16 == 1) {
      scales[unit * shape.columns + column] = pair;
    }
    for (var i = 0u; i < UNIT_STEPS; i++) {
      let step = unit * UNIT_STEPS + i;
      if (step < steps) {
        weight[step * shape.columns + column] = codes[i];
      }
    }
  }
}
