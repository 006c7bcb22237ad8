// Scales of block codes in f16: element = scale * code.
//
// scales: [ceil(K / (2 * block))][columns] words: the scales of an even block (low half) and of the odd one behind it.
//
// Constants: GROUPS (blocks that begin in a step, at least 1), STEPS_PER_BLOCK.

const MINIMUM = 0u;

// (scale, minimum) of group `group` of a step.
fn scaleOf(step: u32, group: u32, column: u32, columns: u32) -> vec2f {
  let block = step * GROUPS / STEPS_PER_BLOCK + group;
  let pair = scales[(block / 2) * columns + column];
  return vec2f(unpack2x16float(pair >> (16 * (block % 2))).x, 0.0);
}
