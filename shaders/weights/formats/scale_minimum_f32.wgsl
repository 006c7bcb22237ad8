// Scales and minima of block codes in f32: element = scale * code + minimum.
//
// scales: [ceil(K / block)][columns] (scale, minimum), two words
//
// Constants: GROUPS (blocks that begin in a step, at least 1), STEPS_PER_BLOCK.

const MINIMUM = 1u;

// (scale, minimum) of group `group` of a step.
fn scaleOf(step: u32, group: u32, column: u32, columns: u32) -> vec2f {
  let at = 2 * ((step * GROUPS / STEPS_PER_BLOCK + group) * columns + column);
  return bitcast<vec2f>(vec2u(scales[at], scales[at + 1]));
}
