/** Checks of the numbers a caller gives. */

import { InputError } from "../errors.ts";

/**
 * The value, when it is an integer in [least, most].
 * @throws InputError naming the function, the option, what was found and the range
 */
export function requireInteger(where: string, field: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    const expected =
      most === Number.MAX_SAFE_INTEGER ? `an integer of at least ${least}` : `an integer from ${least} to ${most}`;
    throw new InputError({ file: where, field, found: String(value), expected });
  }
  return value;
}
