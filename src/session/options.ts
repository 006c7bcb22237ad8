/** Checks of the numbers a caller gives. */

import { InputError } from "../errors.ts";

/**
 * Refuses options that are none: a misspelt or unsupported one would be ignored in silence.
 * @throws InputError naming the option and those there are
 */
export function requireKnown(where: string, options: object, known: readonly string[]): void {
  for (const field of Object.keys(options)) {
    if (known.includes(field)) continue;
    throw new InputError({ file: where, field, found: "an unknown option", expected: `one of ${known.join(", ")}` });
  }
}

/**
 * The value, when it is an integer in [least, most].
 * @throws InputError naming the function, the option, what was found and the range
 */
export function requireInteger(where: string, field: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) {
    const expected =
      most === Number.MAX_SAFE_INTEGER ? `an integer of at least ${least}` : `an integer from ${least} to ${most}`;
    throw new InputError({
      file: where,
      field,
      found: typeof value === "string" ? `"${value}"` : String(value),
      expected,
    });
  }
  return value;
}

/**
 * The value, when it is true or false.
 * @throws InputError naming the function, the option and what was found
 */
export function requireBoolean(where: string, field: string, value: boolean): boolean {
  if (typeof value === "boolean") return value;
  const found = typeof value === "string" ? `"${value}"` : String(value);
  throw new InputError({ file: where, field, found, expected: "true or false" });
}

/**
 * One text or several, none of them empty.
 * @throws InputError naming the function, the option, what was found and what was expected
 */
export function textsOf(where: string, field: string, value: string | readonly string[] = []): readonly string[] {
  const texts = typeof value === "string" ? [value] : value;
  for (const [i, text] of texts.entries()) {
    if (typeof text === "string" && text !== "") continue;
    const found = text === "" ? "an empty text" : String(text);
    throw new InputError({ file: where, field: `${field}[${i}]`, found, expected: "a text" });
  }
  return texts;
}

/**
 * The value, when it is one of `choices`.
 * @throws InputError naming the function, the option, what was found and the choices
 */
export function requireChoice<T extends string>(where: string, field: string, value: T, choices: readonly T[]): T {
  if (!choices.includes(value)) {
    const found = typeof value === "string" ? `"${value}"` : String(value);
    throw new InputError({ file: where, field, found, expected: `one of ${choices.join(", ")}` });
  }
  return value;
}

/**
 * The value, when it is a number in [least, most].
 * @throws InputError naming the function, the option, what was found and the range
 */
export function requireNumber(where: string, field: string, value: number, least: number, most: number): number {
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    const found = typeof value === "string" ? `"${value}"` : String(value);
    throw new InputError({ file: where, field, found, expected: `a number from ${least} to ${most}` });
  }
  return value;
}
