// Scales and minima stored in f32.

const STORED_NAN = 0x7fc00000u;
const SMALLEST_NORMAL = 0x00800000u;

// What kernels read.
fn storedValue(bits: u32) -> f32 {
  return bitcast<f32>(bits);
}

// The scale `exact`, but not one that a device may flush to zero while numbers of `extent` are to be had with it.
fn storedScale(exact: f32, extent: f32, reach: f32) -> u32 {
  if (extent == 0.0) {
    return 0;
  }
  let bits = bitcast<u32>(exact);
  return (bits & 0x80000000) | max(bits & 0x7fffffff, SMALLEST_NORMAL);
}

// A minimum that is not above `value`.
fn storedBelow(value: f32) -> u32 {
  return bitcast<u32>(value);
}
