// Scales of block codes in f32: element = scale * code.
//
// scales: [ceil(K / block)][columns] f32
//
// Constants: GROUPS (blocks that begin in a step, at least 1), STEPS_PER_BLOCK.

const MINIMUM = 0u;

// (scale, minimum) of group `group` of a step.
fn scaleOf(step: u32, group: u32, column: u32, columns: u32) -> vec2f {
  return vec2f(bitcast<f32>(scales[(step * GROUPS / STEPS_PER_BLOCK + group) * columns + column]), 0.0);
}
