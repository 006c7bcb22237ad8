// Shared: writing a pair of elements (pair, pair + headDim / 2) of a head to a KV cache of f16.
//
// keys, values: [slot * kvHeads + kvHead][headDim / 2] words: a word holds element `pair` (low half) and element
// `pair + headDim / 2` (high half), which one thread owns: no two threads write to one word.

@group(0) @binding(8) var<storage, read_write> keys: array<u32>;
@group(0) @binding(9) var<storage, read_write> values: array<u32>;

fn writeKey(head: u32, pair: u32, key: vec2f) {
  keys[head * shape.halfDim + pair] = pack2x16float(key);
}

fn writeValue(head: u32, pair: u32, value: vec2f) {
  values[head * shape.halfDim + pair] = pack2x16float(value);
}
