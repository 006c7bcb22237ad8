/** How many tokens a model's context holds. */

import type { ModelSpec } from "../model/spec.ts";
import { requireInteger } from "./options.ts";

/** The context a model gets when nothing is asked: longer ones cost memory that most chats never touch. */
const DEFAULT_CONTEXT_LENGTH = 4096;

/**
 * The context asked for, or else the model's own as far as it is no longer than the default.
 * @param caller the public function whose option it is
 * @throws InputError when the model is not made for so many tokens
 */
export function contextLengthOf(
  caller: string,
  asked: number | undefined,
  { maxPositionEmbeddings }: ModelSpec,
): number {
  const length = asked ?? Math.min(maxPositionEmbeddings, DEFAULT_CONTEXT_LENGTH);
  return requireInteger(caller, "contextLength", length, 2, maxPositionEmbeddings);
}

/**
 * The tokens that keys and values are kept of, of all texts together.
 * @throws InputError for fewer than one context
 */
export function kvBudgetOf(caller: string, asked: number | undefined, contextLength: number): number {
  return requireInteger(caller, "kvBudget", asked ?? contextLength, contextLength, Number.MAX_SAFE_INTEGER);
}
