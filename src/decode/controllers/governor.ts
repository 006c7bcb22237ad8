/**
 * Never slower than plain decoding: chooses each round's plan by expected tokens a millisecond, plain decoding among them.
 *
 * Prices are measured ones (prices.ts, text_prices.ts), expected tokens are those of the acceptance seen in this text (acceptance.ts). What
 * is not the best by these is tried now and then (probing.ts); what drafting may lose is bounded, over the text
 * (allowance.ts) and since it last paid (setback.ts). All of it is ours.
 */

import {
  type Controller,
  drafterOf,
  draftsOf,
  type PlanDecision,
  type PlanPrice,
  type RoundOutcome,
  type RoundPlan,
} from "../plan.ts";
import type { AcceptancePrior } from "./acceptance.ts";
import { Allowance } from "./allowance.ts";
import { type ChoiceOptions, greatest, hope, priceChoices, rate } from "./choices.ts";
import { Expectations } from "./expectations.ts";
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
  readonly #expected: Expectations;
  readonly #probing = new Probing();
  readonly #allowance = new Allowance();
  readonly #setback = new Setback();
  #decision: GovernorDecision | undefined;

  constructor(options: GovernorOptions) {
    this.#options = { ...options, prices: new TextPrices(options.prices, options.layers) };
    this.#expected = new Expectations(options.layers, options.exitLayers, options.acceptance);
  }

  /** The last plan and why; undefined before the first. */
  get decision(): GovernorDecision | undefined {
    return this.#decision;
  }

  plan(): RoundPlan {
    const { plain, drafts } = priceChoices(this.#options, this.#expected);
    /** Plain rounds' time that a round costs more than plain decoding's, if none of its drafts is accepted. */
    const loss = (choice: PlanPrice): number => choice.milliseconds / plain.milliseconds - 1;
    const { isKnown } = this.#options.prices;
    const affordable = isKnown ? drafts.filter((choice) => this.#allowance.covers(loss(choice))) : [];
    // What is foreseen is no try: it may go on where others have failed.
    const open = this.#setback.isGivenUp ? affordable.filter((choice) => this.#expected.foresees(choice)) : affordable;
    const best = this.#best(plain, open);
    const probe = this.#probing.isDue ? this.#probe(plain, drafts, affordable, best) : undefined;

    const choice = probe ?? best;
    const { milliseconds: _, tokens: __, ...plan } = choice;
    this.#probing.planned(plan, probe !== undefined);
    this.#allowance.planned(loss(choice));
    this.#expected.planned(choice);
    const reason = probe ? "probe" : choice === plain ? "plain" : "best";
    this.#decision = { plan, reason, prices: [plain, ...drafts] };
    return plan;
  }

  tell(ids: readonly number[]): void {
    this.#expected.tell(ids);
  }

  observe(outcome: RoundOutcome): void {
    const { prices } = this.#options;
    const tokens = outcome.accepted + 1;
    prices.observe(outcome);
    const steps = prices.steps(outcome);
    this.#expected.observe(outcome);
    this.#allowance.observe(tokens, steps);
    this.#setback.observe(tokens - steps);
    if (this.#probing.succeeded(outcome, tokens - steps)) this.#setback.resume();
  }

  #best(plain: PlanPrice, affordable: readonly PlanPrice[]): PlanPrice {
    return greatest([plain, ...affordable], (choice) => rate(choice) * (choice === plain ? 1 + LEAST_GAIN : 1))!;
  }

  /**
   * Of the other exit layers and drafters, plain decoding's too, the one that may well be the best, with its shortest draft: it
   * costs least and tells as much. Where plain decoding is the best, any that would pay if all its drafts were accepted.
   */
  #probe(
    plain: PlanPrice,
    drafts: readonly PlanPrice[],
    affordable: readonly PlanPrice[],
    best: PlanPrice,
  ): PlanPrice | undefined {
    const { prices } = this.#options;
    // Of each kind the shortest is tried: looked at once a round, however many lengths there are.
    const kinds = new Map<string, PlanPrice[]>();
    for (const choice of [plain, ...drafts]) {
      if (this.#expected.foresees(choice)) continue;
      const kind = kindOf(choice);
      const ofKind = kinds.get(kind);
      if (ofKind) ofKind.push(choice);
      else kinds.set(kind, [choice]);
    }
    const others = [...kinds.values()].flatMap((ofKind) => {
      const choice = ofKind[0]!;
      if (kindOf(choice) === kindOf(best) || (choice !== plain && !affordable.includes(choice))) return [];
      const hoped = Math.max(...ofKind.map((each) => hope(each, this.#expected, prices)));
      const couldPay = ofKind.some((each) => (draftsOf(each) + 1) / each.milliseconds > rate(best));
      return (best === plain ? couldPay : hoped > rate(best)) ? [{ choice, hoped }] : [];
    });
    return greatest(others, ({ hoped }) => hoped)?.choice;
  }
}

/** Plans whose acceptance is the same question: of one drafter, from one exit layer. */
function kindOf(plan: PlanPrice): string {
  return `${drafterOf(plan)}/${plan.exitLayer}`;
}
