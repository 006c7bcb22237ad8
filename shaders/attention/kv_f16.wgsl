// Keys and values in f16, a piece of the attention kernels that kv_f32.wgsl can stand in for.
//
// keys, values: [slot][kvHeads] heads of [headDim / 8] vec4<u32>; word p of a head packs its elements p (low half) and
// p + headDim / 2, the two that RoPE turns together. So one load brings vec4 number j and number j + HALF_VECTORS.
//
// Unpacking is core WGSL; all arithmetic is in f32 and no device feature is needed.
//
// Constants: HALF_VECTORS (headDim / 8).

@group(0) @binding(4) var<storage, read> keys: array<array<vec4u, HALF_VECTORS>>;
@group(0) @binding(5) var<storage, read> values: array<array<vec4u, HALF_VECTORS>>;

fn keyPair(head: u32, j: u32) -> array<vec4f, 2> {
  return unpackPair(keys[head][j]);
}

fn valuePair(head: u32, j: u32) -> array<vec4f, 2> {
  return unpackPair(values[head][j]);
}

fn unpackPair(words: vec4u) -> array<vec4f, 2> {
  let x = unpack2x16float(words.x);
  let y = unpack2x16float(words.y);
  let z = unpack2x16float(words.z);
  let w = unpack2x16float(words.w);
  return array(vec4f(x.x, y.x, z.x, w.x), vec4f(x.y, y.y, z.y, w.y));
}
