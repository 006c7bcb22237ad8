// Scales and minima of block codes in f16: element = scale * code + minimum.
//
// scales: [ceil(K / block)][columns] words: scale (low half) and minimum (high half)
//
// Constants: GROUPS (blocks that begin in a step, at least 1), STEPS_PER_BLOCK.

const MINIMUM = 1u;

// (scale, minimum) of group `group` of a step.
fn scaleOf(step: u32, group: u32, column: u32, columns: u32) -> vec2f {
  return unpack2x16float(scales[(step * GROUPS / STEPS_PER_BLOCK + group) * columns + column]);
}
