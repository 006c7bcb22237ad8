/** The few rounds that are timed when a model is loaded, so that every plan has a price before the first text. */

import { plainPlan, type RoundPlan } from "../plan.ts";
import { planKey } from "./price_features.ts";

export interface CalibrationOptions {
  readonly layers: number;
  /** Exit layers that will be considered, ascending. */
  readonly exitLayers: readonly number[];
  readonly maxDraftLength: number;
  /** Plans of drafters that have no exit layers to choose from. */
  readonly others?: readonly RoundPlan[];
}

/**
 * Rounds in the order to be timed: short and long drafts at the first and the last exit layer, which tell a draft's layers,
 * the heads and the further rows apart, and one in the middle; twice, the second time in reverse, so that a device that grows
 * slower favours none. Plain decoding, with which all are compared, four times.
 */
export function calibrationPlans(options: CalibrationOptions): RoundPlan[] {
  const { others = [] } = options;
  const plain = plainPlan(options.layers);
  const drafts = [...chainsToTime(options), ...others];
  if (drafts.length === 0) return [plain, plain];
  const different = new Map(drafts.map((plan) => [planKey(plan), plan]));
  const once = [plain, ...different.values(), plain];
  return [...once, ...once.toReversed()];
}

/** Chains of the first layers. */
function chainsToTime({ exitLayers, maxDraftLength }: CalibrationOptions): RoundPlan[] {
  const first = exitLayers[0];
  const last = exitLayers[exitLayers.length - 1];
  const middle = exitLayers[exitLayers.length >> 1];
  if (first === undefined || last === undefined || middle === undefined || maxDraftLength < 1) return [];
  return [
    { exitLayer: first, draftLength: 1 },
    { exitLayer: last, draftLength: maxDraftLength },
    { exitLayer: middle, draftLength: Math.ceil(maxDraftLength / 2) },
    { exitLayer: first, draftLength: maxDraftLength },
    { exitLayer: last, draftLength: 1 },
  ];
}
