// Shared: writing a pair of elements (pair, pair + headDim / 2) of a head to a KV cache of f32.
//
// keys, values: [slot * kvHeads + kvHead][headDim]

@group(0) @binding(8) var<storage, read_write> keys: array<f32>;
@group(0) @binding(9) var<storage, read_write> values: array<f32>;

fn writeKey(head: u32, pair: u32, key: vec2f) {
  keys[head * 2 * shape.halfDim + pair] = key.x;
  keys[(head * 2 + 1) * shape.halfDim + pair] = key.y;
}

fn writeValue(head: u32, pair: u32, value: vec2f) {
  values[head * 2 * shape.halfDim + pair] = value.x;
  values[(head * 2 + 1) * shape.halfDim + pair] = value.y;
}
