/** Texts whose tokens are known one by one, and of each whether it was generated. */

import { InputError } from "../errors.ts";
import type { Transcript } from "../types.ts";
import { requireInteger } from "./options.ts";

/** Tokens at places [from, to). */
export type RangeOf = readonly [from: number, to: number];

const WHERE = "generate";

/**
 * A caller's transcript, checked: ranges are ascending, apart, and within the text. Ids are checked with those of any prompt.
 * @throws InputError naming the field
 */
export function readTranscript({ ids, generated }: Transcript): Transcript {
  let from = 0;
  for (const [i, range] of generated.entries()) {
    const field = `prompt.generated[${i}]`;
    if (!Array.isArray(range) || range.length !== 2) {
      throw new InputError({ file: WHERE, field, found: String(range), expected: "two places, [from, to]" });
    }
    requireInteger(WHERE, `${field}[0]`, range[0], from, ids.length);
    from = requireInteger(WHERE, `${field}[1]`, range[1], range[0], ids.length);
  }
  return { ids: [...ids], generated: generated.map(([a, b]): RangeOf => [a, b]).filter(([a, b]) => b > a) };
}

/** Whether a prompt is a transcript. */
export function isTranscript(prompt: unknown): prompt is Transcript {
  const { ids, generated } = (prompt ?? {}) as Partial<Transcript>;
  return Array.isArray(ids) && Array.isArray(generated);
}

/** A transcript without the tokens at places [from, to). */
export function without({ ids, generated }: Transcript, from: number, to: number): Transcript {
  const place = (at: number) => (at <= from ? at : Math.max(from, at - (to - from)));
  return {
    ids: [...ids.slice(0, from), ...ids.slice(to)],
    generated: merged(generated.map(([a, b]): RangeOf => [place(a), place(b)]).filter(([a, b]) => b > a)),
  };
}

/** Ranges, those that touch as one. */
function merged(ranges: readonly RangeOf[]): RangeOf[] {
  const result: RangeOf[] = [];
  for (const [a, b] of ranges) {
    const last = result.at(-1);
    if (last && last[1] === a) result[result.length - 1] = [last[0], b];
    else result.push([a, b]);
  }
  return result;
}
