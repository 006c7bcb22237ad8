/** The kernels that open and close a round, as plain functions (LayerSkip, Elhoushi et al. 2024, section 4.3). */

import { FAILED, LENGTH_REACHED, MAX_DRAFT_LENGTH, NONE, RUNNING, STOPPED } from "../../src/kernels/constants.ts";
import type { Report, RoundSettings } from "../../src/kernels/layer_skip.ts";

/** `State` of state.wgsl. */
export interface State {
  length: number;
  pending: number;
  emitted: number;
  finished: number;
}

/** `State` as the kernels hold it. */
export function stateWords({ length, pending, emitted, finished }: State): number[] {
  return [length, pending, emitted, finished];
}

/** Tokens that a round may draft; none when the generation is over. */
export function draftLengthOf(settings: RoundSettings, state: State): number {
  if (state.finished !== RUNNING) return 0;
  const stillWanted = settings.maxTokens - state.emitted;
  const stillFits = settings.contextLength - state.length - 1; // committed tokens and the pending one take their places
  // The round emits one token more than it drafts.
  return Math.min(settings.draftLength, MAX_DRAFT_LENGTH, stillWanted - 1, stillFits - 1);
}

/**
 * A round that checks `drafts` with the full model's choices: `targets[0]` after the row at `position`, `targets[i]` after
 * the i-th draft.
 * @param parents the row that each draft continues, 0 the first; a chain where they are not given
 */
export function acceptRound(
  settings: RoundSettings,
  state: State,
  position: number,
  drafts: readonly number[],
  targets: readonly number[],
  parents: readonly number[] = drafts.map((_, i) => i),
): { state: State; report: Report } {
  const ids: number[] = [];
  const path: number[] = [];
  let accepted = 0;
  let finished = RUNNING;
  for (let row = 0; finished === RUNNING; ) {
    const target = targets[row]!;
    if (target === NONE) {
      finished = FAILED;
      break;
    }
    ids.push(target);
    path.push(row);
    if (settings.eosTokenIds.includes(target)) finished = STOPPED;
    const child = drafts.findIndex((draft, i) => parents[i] === row && draft === target);
    if (child < 0) break;
    accepted++;
    row = child + 1;
  }
  const length = position + ids.length;
  const emitted = state.emitted + ids.length;
  const full = emitted >= settings.maxTokens || length + 1 >= settings.contextLength;
  if (finished === RUNNING && full) finished = LENGTH_REACHED;
  return {
    state: { length, pending: ids.at(-1) ?? state.pending, emitted, finished },
    report: {
      ...{ drafted: drafts.length, accepted, finished, length, ids },
      ...{ path, draftIds: [...drafts], draftParents: [...parents] },
    },
  };
}
