/** The controllers by name: what a user may choose from, and how each is made. */

import type { Controller, DrafterKind, RoundPlan } from "../plan.ts";
import { DEFAULT_ACCEPTANCE } from "./acceptance.ts";
import { ConfidenceController } from "./confidence.ts";
import { DelController } from "./del.ts";
import { FixedController } from "./fixed.ts";
import { Governor } from "./governor.ts";
import { HeuristicController } from "./heuristic.ts";
import type { PlanPrices } from "./prices.ts";
import { ThompsonController } from "./thompson.ts";

export const CONTROLLER_NAMES = ["fixed", "heuristic", "confidence", "del", "thompson", "governor"] as const;
export type ControllerName = (typeof CONTROLLER_NAMES)[number];

/** What controllers are made of; each takes what it needs. */
export interface ControllerOptions {
  readonly layers: number;
  /** Of controllers that choose none. */
  readonly exitLayer: number;
  /** Who drafts, for controllers that choose none. Default: the layers alone. */
  readonly drafter?: DrafterKind;
  /** Of controllers that choose none, and the first of those that adapt it. */
  readonly draftLength: number;
  readonly maxDraftLength: number;
  /** Exit layers to choose from, ascending, each below `layers`. */
  readonly candidateExits: readonly number[];
  /** Plans of drafters that have no layers to choose from, for the governor. */
  readonly trees: readonly RoundPlan[];
  readonly prices: PlanPrices;
  readonly seed: number;
}

/** Draft lengths that the governor compares: each a good step longer than the one before. */
const GOVERNOR_LENGTHS = [1, 2, 3, 4, 6, 8, 12, 15, 20, 31];

/** How each is made. What each does, and its paper: docs/controllers.md and the head of its file. */
export const CONTROLLERS: Readonly<Record<ControllerName, (options: ControllerOptions) => Controller>> = {
  fixed: ({ exitLayer, drafter, draftLength }) =>
    new FixedController({ exitLayer, draftLength, ...(drafter && { drafter }) }),
  heuristic: (options) => new HeuristicController(options),
  confidence: (options) => new ConfidenceController(options),
  del: ({ candidateExits: exitLayers, ...options }) =>
    new DelController({ ...options, exitLayers, acceptance: DEFAULT_ACCEPTANCE }),
  thompson: (options) => new ThompsonController({ ...options, acceptance: DEFAULT_ACCEPTANCE }),
  governor: ({ candidateExits: exitLayers, maxDraftLength, drafter: _, ...options }) => {
    const draftLengths = GOVERNOR_LENGTHS.filter((length) => length <= maxDraftLength);
    return new Governor({ ...options, exitLayers, draftLengths, acceptance: DEFAULT_ACCEPTANCE });
  },
};
