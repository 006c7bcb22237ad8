/**
 * Never slower than plain decoding: chooses each round's plan by expected tokens a millisecond, plain decoding among them.
 *
 * Prices are measured ones (prices.ts, text_prices.ts), expected tokens are those of the acceptance seen in this text (acceptance.ts). What
 * is not the best by these is tried now and then (probing.ts); what drafting may lose is bounded, over the text
 * (allowance.ts) and since it last paid (setback.ts). All of it is ours.
 */

import type { Controller, PlanDecision, PlanPrice, RoundOutcome, RoundPlan } from "../plan.ts";
import { Acceptance, type AcceptancePrior } from "./acceptance.ts";
import { Allowance } from "./allowance.ts";
import { type ChoiceOptions, greatest, hope, priceChoices, rate } from "./choices.ts";
import { Probing } from "./probing.ts";
import { Setback } from "./setback.ts";
import { TextPrices } from "./text_prices.ts";

export interface GovernorOptions extends ChoiceOptions {
  readonly acceptance: AcceptancePrior;
}

/** Of all plans compared, plain decoding first. */
export interface GovernorDecision extends PlanDecision {
  /** `best`: drafting pays most; `plain`: plain decoding does, or drafting may lose no more; `probe`: tried in order to know. */
  readonly reason: "best" | "plain" | "probe";
}

/** What drafting has to gain to be chosen: prices are not exact, and a governor's own work is not in them. */
const LEAST_GAIN = 0.02;

export class Governor implements Controller {
  readonly #options: ChoiceOptions & { prices: TextPrices };
  readonly #acceptance: Acceptance;
  readonly #probing = new Probing();
  readonly #allowance = new Allowance();
  readonly #setback = new Setback();
  #decision: GovernorDecision | undefined;

  constructor(options: GovernorOptions) {
    this.#options = { ...options, prices: new TextPrices(options.prices, options.layers) };
    this.#acceptance = new Acceptance(options.layers, options.exitLayers, options.acceptance);
  }

  /** The last plan and why; undefined before the first. */
  get decision(): GovernorDecision | undefined {
    return this.#decision;
  }

  plan(): RoundPlan {
    const { plain, drafts } = priceChoices(this.#options, this.#acceptance);
    /** Plain rounds' time that a round costs more than plain decoding's, if none of its drafts is accepted. */
    const loss = (choice: PlanPrice): number => choice.milliseconds / plain.milliseconds - 1;
    const { isKnown } = this.#options.prices;
    const affordable = isKnown ? drafts.filter((choice) => this.#allowance.covers(loss(choice))) : [];
    const best = this.#setback.isGivenUp ? plain : this.#best(plain, affordable);
    const probe = this.#probing.isDue ? this.#probe(plain, drafts, affordable, best) : undefined;

    const choice = probe ?? best;
    const plan: RoundPlan = { exitLayer: choice.exitLayer, draftLength: choice.draftLength };
    this.#probing.planned(plan, probe !== undefined);
    this.#allowance.planned(loss(choice));
    const reason = probe ? "probe" : choice === plain ? "plain" : "best";
    this.#decision = { plan, reason, prices: [plain, ...drafts] };
    return plan;
  }

  observe(outcome: RoundOutcome): void {
    const { prices } = this.#options;
    const tokens = outcome.accepted + 1;
    prices.observe(outcome);
    const steps = prices.steps(outcome);
    this.#acceptance.observe(outcome.plan.exitLayer, outcome);
    this.#allowance.observe(tokens, steps);
    this.#setback.observe(tokens - steps);
    if (this.#probing.succeeded(outcome)) this.#setback.resume();
  }

  #best(plain: PlanPrice, affordable: readonly PlanPrice[]): PlanPrice {
    return greatest([plain, ...affordable], (choice) => rate(choice) * (choice === plain ? 1 + LEAST_GAIN : 1))!;
  }

  /**
   * Of the other exit layers, plain decoding's too, the one that may well be the best, with its shortest draft: it costs least
   * and tells as much. Where plain decoding is the best, any that would pay if all its drafts were accepted.
   */
  #probe(
    plain: PlanPrice,
    drafts: readonly PlanPrice[],
    affordable: readonly PlanPrice[],
    best: PlanPrice,
  ): PlanPrice | undefined {
    const { draftLengths, prices } = this.#options;
    const plans = [plain, ...drafts];
    // One of each exit layer: looked at once a round, however many lengths there are.
    const shortest = [plain, ...affordable].filter(({ draftLength }) => draftLength <= draftLengths[0]!);
    const others = shortest.flatMap((choice) => {
      if (choice.exitLayer === best.exitLayer) return [];
      const ofExit = plans.filter(({ exitLayer }) => exitLayer === choice.exitLayer);
      const hoped = Math.max(...ofExit.map((each) => hope(each, this.#acceptance, prices)));
      const couldPay = ofExit.some((each) => (each.draftLength + 1) / each.milliseconds > rate(best));
      return (best === plain ? couldPay : hoped > rate(best)) ? [{ choice, hoped }] : [];
    });
    return greatest(others, ({ hoped }) => hoped)?.choice;
  }
}
