/** The controllers by name: what a user may choose from, and how each is made. */

import type { Controller } from "../plan.ts";
import { type AcceptancePrior, DEFAULT_ACCEPTANCE } from "./acceptance.ts";
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
  /** Of controllers that choose none, and the first of those that adapt it. */
  readonly draftLength: number;
  readonly maxDraftLength: number;
  /** Exit layers to choose from, ascending, each below `layers`. */
  readonly candidateExits: readonly number[];
  readonly prices: PlanPrices;
  readonly seed: number;
  /** What acceptance a draft is expected to have, where anything tells. */
  readonly acceptance?: AcceptancePrior;
}

export interface ControllerEntry {
  /** One line for help texts and the page. */
  readonly description: string;
  readonly paper: string;
  create(options: ControllerOptions): Controller;
}

/** Draft lengths that the governor compares: each a good step longer than the one before. */
const GOVERNOR_LENGTHS = [1, 2, 3, 4, 6, 8, 12, 15, 20, 31];

export const CONTROLLERS: Readonly<Record<ControllerName, ControllerEntry>> = {
  fixed: {
    description: "always the given exit layer and draft length",
    paper: "LayerSkip (Elhoushi et al. 2024)",
    create: ({ exitLayer, draftLength }) => new FixedController({ exitLayer, draftLength }),
  },
  heuristic: {
    description: "two drafts more after a fully accepted round, one fewer after any other",
    paper: "Hugging Face transformers, assisted generation",
    create: (options) => new HeuristicController(options),
  },
  confidence: {
    description: "drafts until one is less probable than a threshold that follows acceptance",
    paper: "Hugging Face transformers, assistant_confidence_threshold; DEL (2025)",
    create: (options) => new ConfidenceController(options),
  },
  del: {
    description: "exit layer and draft length of most tokens a millisecond, from how often each exit layer agrees",
    paper: "DEL: Context-Aware Dynamic Exit Layer for Efficient Self-Speculative Decoding (2025)",
    create: (options) => {
      const { candidateExits, exitLayer, acceptance } = options;
      return new DelController({ ...options, exitLayers: candidateExits, acceptance: ofExit(acceptance, exitLayer) });
    },
  },
  thompson: {
    description: "draft length by Thompson sampling of the acceptance of a draft",
    paper: "EESD: Speculative Decoding via Early-exiting with Thompson Sampling Control Mechanism (Liu et al. 2024)",
    create: (options) => {
      const { acceptance, exitLayer, ...rest } = options;
      return new ThompsonController({ ...rest, exitLayer, acceptance: ofExit(acceptance, exitLayer) });
    },
  },
  governor: {
    description: "the plan of most tokens a millisecond, plain decoding among them: never slower than that",
    paper: "LayerLeap's own",
    create: ({ layers, candidateExits, maxDraftLength, prices, acceptance = DEFAULT_ACCEPTANCE }) => {
      const draftLengths = GOVERNOR_LENGTHS.filter((length) => length <= maxDraftLength);
      return new Governor({ layers, exitLayers: candidateExits, draftLengths, prices, acceptance });
    },
  },
};

/** What is expected of one exit layer. */
function ofExit(acceptance: AcceptancePrior | undefined, exitLayer: number): number {
  return (typeof acceptance === "number" ? acceptance : acceptance?.[exitLayer]) ?? DEFAULT_ACCEPTANCE;
}
