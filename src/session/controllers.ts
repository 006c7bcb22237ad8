/** The controllers of a model's generations: what they choose among, and what is known of this device and this model. */

import { calibrate } from "../decode/calibrate.ts";
import { calibrationPlans } from "../decode/controllers/calibration.ts";
import { FixedController } from "../decode/controllers/fixed.ts";
import { headInLayers, type PriceShape } from "../decode/controllers/price_features.ts";
import { Prices } from "../decode/controllers/prices.ts";
import { CONTROLLERS } from "../decode/controllers/registry.ts";
import { type Controller, plainPlan, type RoundOutcome, type RoundPlan } from "../decode/plan.ts";
import type { Scheduler } from "../decode/scheduler.ts";
import { isPlainGreedy, type SelectionRequest } from "../decode/selection/selections.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Drafting } from "./drafting_options.ts";
import type { PriceCache } from "./price_cache.ts";

/** Most drafts of a round where a controller chooses: more rows than 8 are read in a further slab. */
const CHOSEN_DRAFT_LENGTH = 7;
/** The kind of selection that is priced at load. */
const GREEDY = "greedy";
/** Most exit layers that are compared. */
const CANDIDATE_EXITS = 4;

export class Controllers {
  readonly #scheduler: Scheduler;
  readonly #spec: ModelSpec;
  /** By what selection computes: it changes what a head costs. `greedy` is what is priced at load. */
  readonly #prices = new Map<string, Prices>();

  constructor(scheduler: Scheduler, spec: ModelSpec) {
    this.#scheduler = scheduler;
    this.#spec = spec;
  }

  /** Plans that the rounds of a generation may follow. */
  plans(drafting: Drafting): RoundPlan[] {
    const { controller, exitLayer, draftLength } = drafting;
    const fixed = this.#fixedPlan(drafting);
    if (controller === undefined || controller === "fixed") return [fixed];
    if (draftsByLayers(drafting)) {
      const longest = Math.max(CHOSEN_DRAFT_LENGTH, draftLength);
      return Array.from({ length: longest + 1 }, (_, length) => ({ exitLayer, draftLength: length }));
    }
    return [plainPlan(this.#spec.layers), fixed];
  }

  /** Whether it has to be known how probable drafts are: the controller decides by it, or it is `asked` for. */
  needProbabilities({ controller }: Drafting, asked = false): boolean {
    return controller === "confidence" || controller === "del" || (asked && controller !== undefined);
  }

  /**
   * A controller for one generation, whose rounds have been prepared. Plain decoding where this device cannot verify several
   * rows in one pass.
   */
  create(drafting: Drafting, selection: SelectionRequest): Controller {
    const { controller, exitLayer, draftLength } = drafting;
    const { layers } = this.#spec;
    if (controller === undefined || !this.#scheduler.takesRowsTogether) return new FixedController(plainPlan(layers));
    if (controller === "fixed") return new FixedController(this.#fixedPlan(drafting));
    // What one text has seen of acceptance is no prior for the next: after a hard one, an easy one would not be drafted.
    return CONTROLLERS[controller]({
      ...{ layers, exitLayer, draftLength, seed: selection.settings.seed },
      maxDraftLength: Math.max(CHOSEN_DRAFT_LENGTH, draftLength),
      candidateExits: candidateExits(layers, exitLayer),
      prices: this.#pricesOf(selection),
    });
  }

  /** The one that a fixed controller follows. */
  #fixedPlan(drafting: Drafting): RoundPlan {
    const { drafter, exitLayer, draftLength, treeSize } = drafting;
    if (drafter === "none") return plainPlan(this.#spec.layers);
    if (drafter === "auto") return { exitLayer, draftLength };
    return { drafter, exitLayer, draftLength, ...(treeSize > 0 && { treeSize }) };
  }

  /** Prices the governor's plans, whose rounds have been prepared: from the cache, else by timing a few. */
  async calibrate(
    exitLayer: number,
    contextLength: number,
    cache: PriceCache,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const shape = this.#shape();
    const cached = Prices.fromJSON(await cache.read(), shape);
    if (cached) this.#prices.set(GREEDY, cached);
    // A context that is smaller than a round cannot time one.
    if (cached || !this.#scheduler.takesRowsTogether || contextLength <= CHOSEN_DRAFT_LENGTH + 2) return;
    const { layers } = this.#spec;
    const prices = new Prices(shape);
    this.#prices.set(GREEDY, prices);
    const exitLayers = candidateExits(layers, exitLayer);
    const plans = calibrationPlans({ layers, exitLayers, maxDraftLength: CHOSEN_DRAFT_LENGTH });
    const observe = (outcome: RoundOutcome) => prices.observe(outcome);
    const isWhole = await calibrate(this.#scheduler, { contextLength, plans, signal, observe });
    if (isWhole) await cache.write(prices.toJSON());
  }

  /** Takes the time of a round of a generation with this selection. */
  observe(selection: SelectionRequest, outcome: RoundOutcome): void {
    this.#pricesOf(selection).observe(outcome);
  }

  /** Prices of a kind of selection; the first time those of greedy rounds: how plans compare is much the same. */
  #pricesOf(selection: SelectionRequest): Prices {
    const kind = kindOf(selection);
    const shape = this.#shape();
    const greedy = this.#prices.get(GREEDY);
    const prices = this.#prices.get(kind) ?? (greedy && Prices.fromJSON(greedy.toJSON(), shape)) ?? new Prices(shape);
    this.#prices.set(kind, prices);
    return prices;
  }

  #shape(): PriceShape {
    const { layers } = this.#spec;
    return { layers, headLayers: headLayers(this.#spec), buckets: this.#scheduler.rowBuckets };
  }
}

function draftsByLayers({ drafter }: Drafting): boolean {
  return drafter === "layerskip" || drafter === "auto";
}

/** What rounds of a selection have in common that changes their cost. */
function kindOf({ settings, probabilities, topLogProbs, hotIds }: SelectionRequest): string {
  const parts = [
    isPlainGreedy(settings) ? GREEDY : "sampled",
    ...(probabilities ? ["probabilities"] : []),
    ...(topLogProbs === undefined ? [] : ["log probabilities"]),
    ...(hotIds ? [`${hotIds.length} hot ids`] : []),
  ];
  return parts.join(", ");
}

/** Some exit layers from the first to half of the layers, the recommended one among them. */
function candidateExits(layers: number, exitLayer: number): number[] {
  const last = Math.max(1, Math.min(layers - 1, Math.max(exitLayer, Math.ceil(layers / 2))));
  const count = Math.min(CANDIDATE_EXITS, last);
  const even = Array.from({ length: count }, (_, i) => Math.round(((i + 1) * last) / count));
  return [...new Set([...even, exitLayer])].sort((a, b) => a - b);
}

/** Weights of the head in those of a layer. */
function headLayers({ hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize }: ModelSpec): number {
  const attention = hiddenSize * headDim * (2 * heads + 2 * kvHeads);
  return headInLayers({ vocabSize, hiddenSize, layerWeights: attention + 3 * hiddenSize * intermediateSize });
}
