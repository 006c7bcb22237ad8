// Fits a scale alone: the block's number of largest magnitude becomes exactly FULL_CODE.
//
// Where the codes reach further to one side (-8 .. 7), that number is put there, by the sign of the scale, as llama.cpp's
// Q4_0 does. Codes that reach equally far (-127 .. 127) keep scales that are not negative, as its Q8_0.
//
// Constants: FULL_CODE (f32), REACH (magnitude that still goes to FULL_CODE), TWO_SIDED (1: -FULL_CODE is a code too).

fn fitted(low: f32, high: f32) -> vec2u {
  let extent = max(-low, high);
  let extreme = select(low, high, high >= -low || TWO_SIDED == 1);
  return vec2u(storedScale(select(extreme, extent, TWO_SIDED == 1) / FULL_CODE, extent, REACH), 0);
}
