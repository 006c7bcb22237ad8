/**
 * LayerSkip's self-speculative decoding on the reference model: greedy, one round after the other.
 *
 * Source: Elhoushi et al. 2024, "LayerSkip: Enabling Early Exit Inference and Self-Speculative Decoding"
 * (arXiv:2404.16710), section 4.3.
 */

import { type GreedyOptions, newTokenLimit, type ReferenceModel } from "./model.ts";
import { argmax } from "./ops.ts";

export interface LayerSkipOptions extends GreedyOptions {
  /** E: drafts run layers [0, E), then the final norm and the head. */
  exitLayer: number;
  /** d: tokens drafted a round, fewer where fewer are still wanted. */
  draftLength: number;
}

export interface Round {
  /** Tokens drafted: d, or what was still wanted besides the round's own token. */
  drafted: number;
  /** Drafts that were emitted: those that agreed with the full model, up to the first EOS. */
  accepted: number;
}

export interface LayerSkipResult {
  /** The new ids: those of `model.greedy(prompt, ...)`, whatever was drafted. */
  ids: number[];
  /** The rounds after the prefill, which emits the first id on its own. */
  rounds: Round[];
}

export function layerSkipGreedy(
  model: ReferenceModel,
  prompt: readonly number[],
  {
    exitLayer,
    draftLength,
    maxTokens,
    eosIds = model.config.eosTokenIds,
    contextLength = model.config.maxPositionEmbeddings,
  }: LayerSkipOptions,
): LayerSkipResult {
  const limit = newTokenLimit(prompt, maxTokens, contextLength);
  if (limit <= 0) return { ids: [], rounds: [] };
  const cache = model.newCache(prompt.length + limit);
  const choice = (hidden: Float64Array): number => argmax(model.head(hidden));

  const ids = [choice(model.forward(model.embed(prompt), 0, cache).at(-1)!)];
  const rounds: Round[] = [];
  while (ids.length < limit && !eosIds.includes(ids.at(-1)!)) {
    const position = prompt.length + ids.length - 1; // of the last id emitted, which no layer has seen yet
    const d = Math.min(draftLength, limit - ids.length - 1); // the round emits one token more than it accepts

    // Self-drafting (section 4.3.1): the first E layers guess d tokens, one after the other. Their hidden states are kept,
    // as are their keys and values; the last draft passes the early layers too, for the verification alone.
    const drafts: number[] = []; // [d]
    const exits: Float64Array[] = []; // [d + 1][H]: hidden state after E layers, of the last id and of each draft
    for (let i = 0; i <= d; i++) {
      const token = drafts.at(-1) ?? ids.at(-1)!;
      const [exit] = model.forward(model.embed([token]), position + i, cache, { toLayer: exitLayer });
      exits.push(exit!);
      if (i < d) drafts.push(choice(exit!));
    }

    // Self-verification (section 4.3.2): the full model's own choice after the last id and after each draft. The early
    // layers' work is not repeated (section 4.3.3, reusing the cache): only layers [E, L) run.
    const targets = model.forward(exits, position, cache, { fromLayer: exitLayer }).map(choice); // [d + 1]

    // Accept the drafts up to the first that differs; then comes the full model's token: a correction, or a bonus when
    // all agreed. An accepted EOS ends the text. Rejected drafts' keys and values stay, and are overwritten in time.
    let accepted = 0;
    while (accepted < d && drafts[accepted] === targets[accepted]) {
      accepted++;
      if (eosIds.includes(drafts[accepted - 1]!)) break;
    }
    ids.push(...drafts.slice(0, accepted));
    if (!eosIds.includes(ids.at(-1)!)) ids.push(targets[accepted]!);
    rounds.push({ drafted: d, accepted });
  }
  return { ids, rounds };
}
