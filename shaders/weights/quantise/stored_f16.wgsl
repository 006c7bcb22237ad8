// Scales and minima stored in f16. They stay finite: what is larger than the largest half becomes it.
//
// A device may flush subnormal halves to zero when it unpacks them. So a stored number is read back here the way kernels
// read it, and where nothing came back the smallest normal half is taken.

const STORED_NAN = 0x7e00u;
const LARGEST = 0x7bffu;
const SMALLEST_NORMAL = 0x0400u;
const SIGN = 0x8000u;

// What kernels read.
fn storedValue(bits: u32) -> f32 {
  return unpack2x16float(bits).x;
}

// The nearest half that is finite.
fn nearestHalf(value: f32) -> u32 {
  let bits = toF16(vec4u(bitcast<u32>(value))).x;
  return (bits & SIGN) | min(bits & ~SIGN, LARGEST);
}

// The next half of larger magnitude.
fn further(bits: u32) -> u32 {
  return (bits & SIGN) | min((bits & ~SIGN) + 1, LARGEST);
}

// The scale nearest to `exact` with which a code of `reach` gets to numbers of `extent`.
fn storedScale(exact: f32, extent: f32, reach: f32) -> u32 {
  if (extent == 0.0) {
    return 0;
  }
  var bits = nearestHalf(exact);
  // Among subnormals the nearest may be much smaller, or zero.
  if (abs(storedValue(bits)) * reach < extent) {
    bits = further(bits);
  }
  if (storedValue(bits) == 0.0) {
    bits = (bits & SIGN) | SMALLEST_NORMAL;
  }
  return bits;
}

// The nearest half that is not above `value`.
fn storedBelow(value: f32) -> u32 {
  var bits = nearestHalf(value);
  if (storedValue(bits) > value) {
    if (bits == 0 || (bits & SIGN) != 0) {
      bits = further(bits | SIGN);
    } else {
      bits -= 1;
    }
  }
  if (value < 0.0 && storedValue(bits) == 0.0) {
    bits = SIGN | SMALLEST_NORMAL;
  }
  return bits;
}
