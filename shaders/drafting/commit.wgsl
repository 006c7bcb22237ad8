// Moves the keys and values of an accepted path into place: token k of the path goes from slots[k] to places[k].
//
// keys, values: a layer's cache, [slot][vectors] vec4u of whatever type
//
// Rows of a path stand in the slots of ascending positions, none before its place. So a thread that takes the tokens in ascending
// order never writes to a slot that it has still to read. A chain is in place, and the dispatch returns at once.
//
// One thread a vec4 of a slot, for all tokens of the path.
//
// Constants: ROW_CAPACITY, WORKGROUP and those of state.wgsl. Needs state.wgsl.

struct Shape {
  vectors: u32, // of a slot
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> path: Path;
@group(0) @binding(2) var<storage, read_write> keys: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> values: array<vec4u>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= shape.vectors) {
    return;
  }
  for (var k = 0u; k < path.count; k++) {
    let source = path.slots[k] * shape.vectors + id.x;
    let place = path.places[k] * shape.vectors + id.x;
    if (source != place) {
      keys[place] = keys[source];
      values[place] = values[source];
    }
  }
}
