// Fits scale and minimum: the least number becomes code 0, the greatest HIGHEST_CODE.
//
// The minimum is rounded downwards, and the scale fitted to what is left, so that rounding takes no number out of the
// codes' reach.
//
// Constants: HIGHEST_CODE (f32), REACH (HIGHEST_CODE and a half). Needs quantise.wgsl.

fn fitted(low: f32, high: f32) -> vec2u {
  let minimum = storedBelow(low);
  let extent = min(max(high - storedValue(minimum), 0.0), LARGEST_FLOAT);
  return vec2u(storedScale(extent / HIGHEST_CODE, extent, REACH), minimum);
}
