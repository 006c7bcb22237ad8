// Reads `source` and keeps nothing: the plain stream that kernels are measured against which read much and write little
//
// source: a multiple of WORKGROUP * PER_THREAD vec4. A workgroup reads one contiguous run, its threads side by side.
// unlikely: one number. It is written where a sum is what no sum is, so that no compiler may leave the reading out.
//
// Constants: WORKGROUP, PER_THREAD.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> unlikely: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let first = group.x * WORKGROUP * PER_THREAD + thread;
  var sums = vec4f();
  // unroll
  for (var i = 0u; i < PER_THREAD; i++) {
    sums += source[first + i * WORKGROUP];
  }
  if (all(sums == vec4f(1e30))) {
    unlikely[0] = 1.0;
  }
}
