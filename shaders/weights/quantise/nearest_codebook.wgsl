// The nearest codes where codes are places in a codebook, in any order; the lowest of equally near ones.
//
// Constants: CODEBOOK (an array of f32), CODEBOOK_SIZE, FULL_CODE (the entry of largest magnitude).

fn nearestCodes(values: vec4f, scale: f32, minimum: f32) -> vec4u {
  if (scale == 0.0) {
    return vec4u(0);
  }
  // Further out, where scales end, all entries would seem equally far.
  let wanted = clamp(values / scale, vec4f(-abs(FULL_CODE)), vec4f(abs(FULL_CODE)));
  var codes = vec4u(0);
  var distances = abs(wanted - CODEBOOK[0]);
  for (var code = 1u; code < CODEBOOK_SIZE; code++) {
    let distance = abs(wanted - CODEBOOK[code]);
    codes = select(codes, vec4u(code), distance < distances);
    distances = min(distances, distance);
  }
  return codes;
}
