// f32 to f16, rounded to nearest, ties to even, and back. From the bits: WGSL leaves the rounding of pack2x16float, and the
// subnormals of it and of unpack2x16float, to the device.

// 65520 and more become infinity, as IEEE 754 has it.
fn toF16(bits: vec4u) -> vec4u {
  let magnitude = bits & vec4u(0x7fffffff);
  // Below 2^-14 a half counts units of 2^-24; all of the fraction is shifted. 25 places leave nothing of it.
  let subnormal = magnitude < vec4u(0x38800000);
  let digits = select(magnitude - vec4u(112 << 23), (magnitude & vec4u(0x7fffff)) | vec4u(0x800000), subnormal);
  let shift = select(vec4u(13), min(vec4u(126) - (magnitude >> vec4u(23)), vec4u(25)), subnormal);
  let odd = (digits >> shift) & vec4u(1);
  let rounded = (digits + (vec4u(1) << (shift - vec4u(1))) - vec4u(1) + odd) >> shift;
  let number = select(min(rounded, vec4u(0x7c00)), vec4u(0x7e00), magnitude > vec4u(0x7f800000));
  return ((bits >> vec4u(16)) & vec4u(0x8000)) | number;
}

// Exact.
fn fromF16(bits: vec4u) -> vec4u {
  let sign = (bits & vec4u(0x8000)) << vec4u(16);
  let exponent = (bits >> vec4u(10)) & vec4u(31);
  let fraction = bits & vec4u(0x3ff);
  let subnormal = bitcast<vec4u>(vec4f(fraction) * 5.9604644775390625e-8); // 2^-24
  // The bias grows from 15 to 127; the largest exponent stays the largest (infinities, NaN).
  let widened = select(exponent + vec4u(112), vec4u(255), exponent == vec4u(31));
  return sign | select((widened << vec4u(23)) | (fraction << vec4u(13)), subnormal, exponent == vec4u(0));
}
