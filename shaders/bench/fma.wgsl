// Multiplies and adds in registers: the plain arithmetic that kernels are measured against
//
// CHAINS independent vec4 a thread, so that no multiplication waits for the one before it. x * factor + summand is written
// out and not as fma(): compilers fuse it where the hardware does, and nobody has to emulate it where not.
//
// numbers: factor, summand; they come from a buffer, so that nothing can be computed ahead.
// unlikely: one number. It is written where a sum is what no sum is, so that no compiler may leave the arithmetic out.
//
// Constants: WORKGROUP, CHAINS, STEPS.

@group(0) @binding(0) var<uniform> numbers: vec4f;
@group(0) @binding(1) var<storage, read_write> unlikely: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let factor = vec4f(numbers.x);
  let summand = vec4f(numbers.y);
  var chains: array<vec4f, CHAINS>;
  // unroll
  for (var c = 0u; c < CHAINS; c++) {
    chains[c] = vec4f(f32(id.x), f32(c), 1.0, 2.0);
  }
  for (var step = 0u; step < STEPS; step++) {
    // unroll
    for (var c = 0u; c < CHAINS; c++) {
      chains[c] = chains[c] * factor + summand;
    }
  }
  var sums = vec4f();
  // unroll
  for (var c = 0u; c < CHAINS; c++) {
    sums += chains[c];
  }
  if (all(sums == vec4f(1e30))) {
    unlikely[0] = 1.0;
  }
}
