// copied = source: the plain streaming copy that kernels are measured against
//
// source, copied: a multiple of WORKGROUP * PER_THREAD vec4. A workgroup copies one contiguous run, its threads side by side.
//
// Constants: WORKGROUP, PER_THREAD.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let first = group.x * WORKGROUP * PER_THREAD + thread;
  // unroll
  for (var i = 0u; i < PER_THREAD; i++) {
    copied[first + i * WORKGROUP] = source[first + i * WORKGROUP];
  }
}
