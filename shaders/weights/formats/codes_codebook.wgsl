// Codes that are places in a codebook (IQ4_NL, IQ4_XS, NF4).
//
// Constants: CODEBOOK (an array of 16 or 256 f32).

fn fromCodes(codes: vec4u) -> vec4f {
  return vec4f(CODEBOOK[codes.x], CODEBOOK[codes.y], CODEBOOK[codes.z], CODEBOOK[codes.w]);
}
