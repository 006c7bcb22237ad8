// The many-row matmul: prompt rows times a weight matrix, in tiles.
//
// A workgroup makes a tile of M rows by TILE_COLUMNS weight columns. It goes through K in chunks of CHUNK_VECTORS vec4:
// the chunk of the rows and the chunk of the weights, decoded and scaled, come into workgroup memory, each number once;
// then each thread adds the chunk's products to its ROWS x COLUMNS sums in registers. Why tiles: with many rows it is
// arithmetic that costs, and a thread that loads ROWS + COLUMNS vec4 has ROWS * COLUMNS dot products to make of them. Why
// a weight is decoded in full before it is multiplied: that costs once a tile, not once a row.
//
// A sum is one ascending loop over K in one thread, the same for every row, place in the tile and tile size. So a row's
// bits depend neither on the other rows nor on how the prompt was cut.
//
// The tile is as large as the device's workgroup memory admits (many_row_matmul.ts).
//
// Workgroup memory: CHUNK_VECTORS * (M + 1 + TILE_COLUMNS) * 16 bytes, and M * NORM_SHARES * 4 of norm_scale.wgsl.
//
// Constants: M, ROWS, COLUMNS, LANES, TILE_COLUMNS, CHUNK_VECTORS (at most 8: rows are padded to 8 vec4), PART_STEPS and
// PART_VECTORS (what a thread decodes of a chunk: steps of a column, vec4 of each), WORKGROUP. Needs matmul.wgsl,
// tile.wgsl, a weight format, a form and a beginning (norm_scale.wgsl, begin_none.wgsl).

// One vec4 more than the rows, so that the stores of neighbouring vec4 of a row fall into different banks.
const ROW_STRIDE = M + 1;

// [CHUNK_VECTORS][ROW_STRIDE]
var<workgroup> tileInput: array<vec4f, CHUNK_VECTORS * ROW_STRIDE>;
// [CHUNK_VECTORS][TILE_COLUMNS]
var<workgroup> tileWeight: array<vec4f, CHUNK_VECTORS * TILE_COLUMNS>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let firstRow = group.y * M;
  if (firstRow >= range.count) {
    return;
  }
  begin(firstRow, thread);

  let firstOutput = group.x * LANES * OUTPUTS;
  let lane = thread % LANES;
  let ownRow = thread / LANES * ROWS;
  var sums: array<f32, ROWS * COLUMNS>;
  for (var chunk = 0u; chunk < shape.steps * VECTORS; chunk += CHUNK_VECTORS) {
    loadInput(chunk, firstRow, thread);
    loadWeight(chunk, firstOutput, thread);
    workgroupBarrier();
    for (var v = 0u; v < CHUNK_VECTORS; v++) {
      var w = array<vec4f, COLUMNS>();
      // unroll
      for (var c = 0u; c < COLUMNS; c++) {
        w[c] = tileWeight[v * TILE_COLUMNS + c * LANES + lane];
      }
      // unroll
      for (var r = 0u; r < ROWS; r++) {
        let x = tileInput[v * ROW_STRIDE + ownRow + r];
        // unroll
        for (var c = 0u; c < COLUMNS; c++) {
          sums[r * COLUMNS + c] += dot(w[c], x);
        }
      }
    }
    workgroupBarrier();
  }
  finishTile(&sums, firstRow, firstOutput, thread);
}

// vec4 [chunk, chunk + CHUNK_VECTORS) of the tile's rows. The last chunk ends with the rows' padding.
fn loadInput(chunk: u32, firstRow: u32, thread: u32) {
  for (var task = thread; task < M * CHUNK_VECTORS; task += WORKGROUP) {
    let r = task / CHUNK_VECTORS;
    let v = task % CHUNK_VECTORS;
    tileInput[v * ROW_STRIDE + r] = input[rowBase(firstRow, r) + chunk + v];
  }
}

// The same of the tile's weight columns; zeros past the last step. A thread decodes PART_STEPS * PART_VECTORS vec4 of one
// column, never of two blocks of a step.
fn loadWeight(chunk: u32, firstOutput: u32, thread: u32) {
  for (var task = thread; task < TILE_COLUMNS * CHUNK_VECTORS / (PART_STEPS * PART_VECTORS); task += WORKGROUP) {
    let place = task % TILE_COLUMNS;
    let column = columnAt(firstOutput, place);
    // unroll
    for (var s = 0u; s < PART_STEPS; s++) {
      let v = (task / TILE_COLUMNS * PART_STEPS + s) * PART_VECTORS;
      let step = (chunk + v) / VECTORS;
      let i = (chunk + v) % VECTORS;
      var codes = Codes();
      var scale = vec2f();
      if (step < shape.steps) {
        codes = weight[step * shape.columns + column];
        scale = scaleOf(step, i / GROUP_VECTORS, column, shape.columns);
      }
      // unroll
      for (var j = 0u; j < PART_VECTORS; j++) {
        tileWeight[(v + j) * TILE_COLUMNS + place] = codeVector(codes, i + j) * scale.x + scale.y;
      }
    }
  }
}
