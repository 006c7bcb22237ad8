// Notes, where a round of the second model has been accepted, that it has seen all that is committed: it went through every row.
//
// followed: as in catch_up.wgsl
//
// One thread.
//
// Constants: those of state.wgsl. Needs state.wgsl.

@group(0) @binding(0) var<storage, read> state: State;
@group(0) @binding(1) var<storage, read_write> followed: array<u32>;

@compute @workgroup_size(1)
fn main() {
  followed[0] = state.length;
}
