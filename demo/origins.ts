/** The ways a token can come, in the words of the page. */

import type { TokenOrigin } from "../src/index.ts";

export interface OriginWords {
  origin: TokenOrigin;
  /** In the legend. */
  name: string;
  meaning: string;
}

export const ORIGINS: readonly OriginWords[] = [
  { origin: "accepted", name: "accepted draft", meaning: "it was drafted, and the full model agreed" },
  { origin: "correction", name: "correction", meaning: "the full model's token where it disagreed with the drafts" },
  { origin: "bonus", name: "bonus", meaning: "the full model's extra token behind drafts it agreed with to their end" },
  { origin: "plain", name: "plain", meaning: "the full model computed it with no draft before it" },
];

export function originName(origin: TokenOrigin): string {
  return ORIGINS.find((words) => words.origin === origin)?.name ?? origin;
}
