// The nearest codes where codes are numbers; they are stored with CODE_OFFSET added, in CODE_BITS bits.
//
// Constants: LOWEST_CODE, HIGHEST_CODE (f32), CODE_OFFSET, CODE_BITS.

fn nearestCodes(values: vec4f, scale: f32, minimum: f32) -> vec4u {
  if (scale == 0.0) {
    return vec4u(0);
  }
  let codes = clamp(round((values - minimum) / scale), vec4f(LOWEST_CODE), vec4f(HIGHEST_CODE));
  return (bitcast<vec4u>(vec4i(codes)) + CODE_OFFSET) & vec4u((1u << CODE_BITS) - 1);
}
