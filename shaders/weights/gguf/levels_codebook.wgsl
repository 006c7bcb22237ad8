// Codes that are places in a codebook.
//
// Constants: SOURCE_CODEBOOK (an array of 16 f32).

fn levels(codes: vec4u) -> vec4f {
  return vec4f(SOURCE_CODEBOOK[codes.x], SOURCE_CODEBOOK[codes.y], SOURCE_CODEBOOK[codes.z], SOURCE_CODEBOOK[codes.w]);
}
