// Blocks of numbers as block codes, for ../lay_blocks.wgsl.
//
// Scale and minimum are fitted to a block's least and greatest number, rounded to the type they are stored in, and read
// back as kernels will read them; the codes are the nearest to what these stand for. A block with an infinity or a NaN
// gets a scale that is NaN: damage shows in the logits, as it does with floats.
//
// A block's elements are read twice, rather than hold 32 of them in registers.
//
// Put together from fit_*.wgsl (`fitted`), nearest_*.wgsl (`nearestCodes`) and stored_*.wgsl (`storedValue`, ...). Needs a
// piece with `elementBits` (../source.wgsl) and ../half.wgsl.

const LARGEST_FLOAT = 3.4028234663852886e38;

// Scale and minimum as stored, of the block of vec4 [first, end) of a row.
fn storedBlock(row: u32, first: u32, end: u32) -> vec2u {
  var low = vec4f(LARGEST_FLOAT);
  var high = vec4f(-LARGEST_FLOAT);
  var largest = vec4u(0);
  for (var vector = first; vector < end; vector++) {
    let bits = elementBits(row, vector);
    low = min(low, bitcast<vec4f>(bits));
    high = max(high, bitcast<vec4f>(bits));
    largest = max(largest, bits & vec4u(0x7fffffff));
  }
  if (any(largest >= vec4u(0x7f800000))) {
    return vec2u(STORED_NAN, 0);
  }
  return fitted(min(min(low.x, low.y), min(low.z, low.w)), max(max(high.x, high.y), max(high.z, high.w)));
}

// The codes of vec4 `vector` of a row, whose block has scale and minimum `stored`.
fn storedCodes(row: u32, vector: u32, stored: vec2u) -> vec4u {
  if (stored.x == STORED_NAN) {
    return vec4u(0);
  }
  let values = bitcast<vec4f>(elementBits(row, vector));
  return nearestCodes(values, storedValue(stored.x), storedValue(stored.y));
}
