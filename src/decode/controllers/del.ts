/**
 * DEL ('Context-Aware Dynamic Exit Layer for Efficient Self-Speculative Decoding', 2025): exit layer and draft length from
 * each layer's agreement with the full model, learned in the text, as those of most tokens a cost; drafting stops early
 * where the draft is unsure.
 *
 * Ours: the cost is measured time, the head in it, instead of a count of layers; the exits compared are a few candidates, and
 * only in every `SHADOW_EVERY`-th round, as L (d + 1) rows of the head are more work than the round; plain decoding is among
 * the plans.
 */

import { type Controller, type DrafterKind, plainPlan, type RoundOutcome, type RoundPlan } from "../plan.ts";
import { ConfidenceThreshold } from "./confidence_threshold.ts";
import { expectedTokens } from "./expected_tokens.ts";
import { LayerAgreement } from "./layer_agreement.ts";
import type { PlanPrices } from "./prices.ts";

export interface DelOptions {
  readonly layers: number;
  /** Exit layers to choose from, ascending. */
  readonly exitLayers: readonly number[];
  /** Who drafts. Default: the layers alone. */
  readonly drafter?: DrafterKind;
  readonly maxDraftLength: number;
  readonly prices: PlanPrices;
  /** Agreement of an exit before the first round. */
  readonly acceptance: number;
}

/** One round in so many tells the candidates' agreement. */
const SHADOW_EVERY = 8;

export class DelController implements Controller {
  readonly #options: DelOptions;
  readonly #agreements: ReadonlyMap<number, LayerAgreement>;
  readonly #threshold = new ConfidenceThreshold();
  #rounds = 0;

  constructor(options: DelOptions) {
    this.#options = options;
    this.#agreements = new Map(options.exitLayers.map((exit) => [exit, new LayerAgreement(options.acceptance)]));
  }

  plan(): RoundPlan {
    const [smallest, ...others] = this.#options.exitLayers;
    const isShadowed = others.length > 0 && this.#rounds++ % SHADOW_EVERY === 0;
    const leastProbability = this.#threshold.value;
    if (!isShadowed || smallest === undefined) return { ...this.#best(this.#options.exitLayers, 0), leastProbability };
    return { ...this.#best([smallest], 1), leastProbability, shadowExits: others };
  }

  observe(outcome: RoundOutcome): void {
    const { plan, drafted, accepted, shadows } = outcome;
    this.#threshold.observe(outcome);
    // Drafts behind the first refused one had a context that is not the text: they tell nothing.
    this.#agreements.get(plan.exitLayer)?.observe(accepted, accepted + (accepted < drafted ? 1 : 0));
    for (const { exitLayer, agreed, of } of shadows) this.#agreements.get(exitLayer)?.observe(agreed, of);
  }

  /** argmax of expected tokens a millisecond (the paper's TPL) over `exits` and lengths from `shortest`; 0: plain decoding. */
  #best(exits: readonly number[], shortest: 0 | 1): RoundPlan {
    const { layers, drafter, maxDraftLength, prices } = this.#options;
    let best: RoundPlan | undefined;
    let most = 0;
    const consider = (plan: RoundPlan, tokens: number): void => {
      const rate = tokens / prices.milliseconds(plan);
      if (best && rate <= most) return;
      best = plan;
      most = rate;
    };
    if (shortest === 0) consider(plainPlan(layers), 1);
    for (const exitLayer of exits) {
      const acceptance = this.#agreements.get(exitLayer)!.value;
      for (let draftLength = 1; draftLength <= maxDraftLength; draftLength++) {
        const plan: RoundPlan = { exitLayer, draftLength, ...(drafter && { drafter }) };
        consider(plan, expectedTokens(acceptance, draftLength));
      }
    }
    return best ?? plainPlan(layers);
  }
}
