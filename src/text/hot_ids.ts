/** Which ids of a vocabulary matter most: a table for a tokenizer, and what a text adds to it. */

import frequentWords from "./frequent_words.txt?raw";
import type { TextTokenizer } from "./tokenizer.ts";

/**
 * All ids, the most frequent first: those of a small text by how often they stand in it, then the others in ascending order,
 * since a BPE vocabulary numbers its merges by how frequent they were where it was made.
 */
export function frequentIds(tokenizer: TextTokenizer, vocabSize: number): number[] {
  const counts = new Map<number, number>();
  for (const id of tokenizer.encode(frequentWords, { addSpecialTokens: false })) {
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  const seen = [...counts].sort(([a, n], [b, m]) => m - n || a - b).map(([id]) => id);
  const others = Array.from({ length: vocabSize }, (_, id) => id).filter((id) => !counts.has(id));
  return [...seen, ...others];
}

/** At most this part of a table is a prompt's own. */
const PROMPT_SHARE = 0.5;

/**
 * The hot ids of a text: those that end a generation, the prompt's own, the last ones first, and the most frequent.
 * @returns ascending, `size` of them
 */
export function hotIds(
  frequent: readonly number[],
  { promptIds, eosTokenIds, size }: { promptIds: readonly number[]; eosTokenIds: readonly number[]; size: number },
): Uint32Array<ArrayBuffer> {
  const own = [...new Set([...eosTokenIds, ...promptIds.toReversed()])].slice(0, Math.floor(size * PROMPT_SHARE));
  const chosen = new Set(own);
  for (const id of frequent) {
    if (chosen.size >= size) break;
    chosen.add(id);
  }
  return Uint32Array.from([...chosen].sort((a, b) => a - b));
}
