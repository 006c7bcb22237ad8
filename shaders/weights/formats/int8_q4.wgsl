// Symmetric 4-bit codes as int8: four vec4 of a step from vec4 i (0 or 4) on, element j of each in the bytes of word j.

fn int8Codes(codes: vec4u, i: u32) -> vec4u {
  // Four nibbles, spread to the low halves of four bytes.
  var bytes = (codes >> vec4u(4 * i)) & vec4u(0xffff);
  bytes = (bytes | (bytes << vec4u(8))) & vec4u(0x00ff00ff);
  bytes = (bytes | (bytes << vec4u(4))) & vec4u(0x0f0f0f0f);
  // Less 8: the nibble with its highest bit turned is the number in two's complement, and its sign fills the byte.
  bytes ^= vec4u(0x08080808);
  return bytes | ((bytes & vec4u(0x08080808)) * vec4u(0x1e));
}
