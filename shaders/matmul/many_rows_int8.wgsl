// The many-row matmul with integer dot products: the tiles of many_rows_tiles.wgsl, the rows quantised on the way.
//
// The weights are symmetric int8 or 4-bit codes. Each 32 elements of a row become int8 codes, round(x / scale) with scale =
// max |x| / 127, and dot4I8Packed makes four products at once, exact as integers; their sum over a block is scaled. An
// input is off by up to half a code, so results differ from those of the other kernels by far more than roundings do:
// this changes ids, and is used only where it is asked for.
//
// A half is 16 elements of K: four words, element j, 4 + j, 8 + j, 12 + j in the bytes of word j. Weights come that way
// (int8_q8.wgsl, int8_q4.wgsl), and rows are quantised to match.
//
// A row's codes and sums depend on nothing but the row: the scale is that of its own 32 elements, the loop over K ascends.
//
// Constants: M, ROWS, COLUMNS, LANES, TILE_COLUMNS, CHUNK_BLOCKS (32s of K in a chunk), HALF_SCALES (1: each half has a
// scale of its own), WORKGROUP. Needs matmul.wgsl, tile.wgsl, a symmetric block format with its int8 piece, a form and a
// beginning.

const CHUNK_HALVES = 2 * CHUNK_BLOCKS;

// [CHUNK_HALVES][M]
var<workgroup> tileInput: array<vec4u, CHUNK_HALVES * M>;
// [CHUNK_BLOCKS][M]
var<workgroup> inputScales: array<f32, CHUNK_BLOCKS * M>;
// [CHUNK_HALVES][TILE_COLUMNS]
var<workgroup> tileWeight: array<vec4u, CHUNK_HALVES * TILE_COLUMNS>;
var<workgroup> weightScales: array<f32, CHUNK_HALVES * TILE_COLUMNS>;

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
  let blocks = (shape.steps * VECTORS + 7) / 8;
  var sums: array<f32, ROWS * COLUMNS>;
  for (var chunk = 0u; chunk < blocks; chunk += CHUNK_BLOCKS) {
    loadInput(chunk, blocks, firstRow, thread);
    loadWeight(chunk, firstOutput, thread);
    workgroupBarrier();
    for (var block = 0u; block < CHUNK_BLOCKS; block++) {
      let low = 2 * block;
      let high = 2 * block + 1;
      // unroll
      for (var r = 0u; r < ROWS; r++) {
        let xLow = tileInput[low * M + ownRow + r];
        let xHigh = tileInput[high * M + ownRow + r];
        let scale = inputScales[block * M + ownRow + r];
        // unroll
        for (var c = 0u; c < COLUMNS; c++) {
          let place = c * LANES + lane;
          let sumLow = dot16(xLow, tileWeight[low * TILE_COLUMNS + place]);
          let sumHigh = dot16(xHigh, tileWeight[high * TILE_COLUMNS + place]);
          let scaleLow = weightScales[low * TILE_COLUMNS + place];
          if (HALF_SCALES == 1) {
            let scaleHigh = weightScales[high * TILE_COLUMNS + place];
            sums[r * COLUMNS + c] += scale * (scaleLow * f32(sumLow) + scaleHigh * f32(sumHigh));
          } else {
            sums[r * COLUMNS + c] += scale * (scaleLow * f32(sumLow + sumHigh));
          }
        }
      }
    }
    workgroupBarrier();
  }
  finishTile(&sums, firstRow, firstOutput, thread);
}

// Sixteen products. At most 16 * 128 * 127: exact in f32 too.
fn dot16(a: vec4u, b: vec4u) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// Quantises blocks [chunk, chunk + CHUNK_BLOCKS) of the tile's rows, a block a thread. Past the last block: zeros.
fn loadInput(chunk: u32, blocks: u32, firstRow: u32, thread: u32) {
  for (var task = thread; task < M * CHUNK_BLOCKS; task += WORKGROUP) {
    let r = task / CHUNK_BLOCKS;
    let block = task % CHUNK_BLOCKS;
    var x = array<vec4f, 8>();
    var largest = 0.0;
    if (chunk + block < blocks) {
      let base = rowBase(firstRow, r) + (chunk + block) * 8;
      // unroll
      for (var v = 0u; v < 8; v++) {
        x[v] = input[base + v];
        let most = max(max(abs(x[v].x), abs(x[v].y)), max(abs(x[v].z), abs(x[v].w)));
        largest = max(largest, most);
      }
    }
    let scale = largest / 127.0;
    let inverse = select(127.0 / largest, 0.0, largest == 0.0);
    inputScales[block * M + r] = scale;
    tileInput[2 * block * M + r] = quantised(x[0], x[1], x[2], x[3], inverse);
    tileInput[(2 * block + 1) * M + r] = quantised(x[4], x[5], x[6], x[7], inverse);
  }
}

// A half in int8.
fn quantised(a: vec4f, b: vec4f, c: vec4f, d: vec4f, inverse: f32) -> vec4u {
  let codes = array<vec4i, 4>(
    vec4i(round(a * inverse)),
    vec4i(round(b * inverse)),
    vec4i(round(c * inverse)),
    vec4i(round(d * inverse)),
  );
  return vec4u(
    pack4xI8Clamp(vec4i(codes[0].x, codes[1].x, codes[2].x, codes[3].x)),
    pack4xI8Clamp(vec4i(codes[0].y, codes[1].y, codes[2].y, codes[3].y)),
    pack4xI8Clamp(vec4i(codes[0].z, codes[1].z, codes[2].z, codes[3].z)),
    pack4xI8Clamp(vec4i(codes[0].w, codes[1].w, codes[2].w, codes[3].w)),
  );
}

// The same halves of the tile's weight columns, a half a thread; zeros past the last step.
fn loadWeight(chunk: u32, firstOutput: u32, thread: u32) {
  for (var task = thread; task < TILE_COLUMNS * CHUNK_HALVES; task += WORKGROUP) {
    let place = task % TILE_COLUMNS;
    let half = task / TILE_COLUMNS;
    let column = columnAt(firstOutput, place);
    let vector = (2 * chunk + half) * 4;
    let step = vector / VECTORS;
    let i = vector % VECTORS;
    var codes = vec4u();
    var scale = 0.0;
    if (step < shape.steps) {
      codes = int8Codes(weight[step * shape.columns + column], i);
      scale = scaleOf(step, i / GROUP_VECTORS, column, shape.columns).x;
    }
    tileWeight[task] = codes;
    weightScales[task] = scale;
  }
}
