/** What a round of each plan may be expected to emit in this text, whoever drafts it. */

import { type DrafterKind, drafterOf, draftsOf, type RoundOutcome, type RoundPlan } from "../plan.ts";
import { Acceptance, type AcceptancePrior, DEFAULT_ACCEPTANCE } from "./acceptance.ts";
import { expectedTokens } from "./expected_tokens.ts";
import { LookupForecast } from "./lookup_forecast.ts";
import { TreeAcceptance } from "./tree_acceptance.ts";

/** Standard deviations above its mean where acceptance may well be. */
const OPTIMISM = 0.25;

/** Those that draft a chain and have no exit layers to choose from: the place of each among exit layers of its own. */
const ONLY = 1;
type ChainDrafter = Extract<DrafterKind, "model" | "adapter">;
/** Drafts that a forecast is trusted for, and what a round counts against the next. */
const FORESEEN_PRIOR = 4;
const FORESEEN_DISCOUNT = 0.98;

type Expected = Pick<RoundPlan, "drafter" | "exitLayer" | "draftLength" | "treeSize">;

export class Expectations {
  readonly #exits: Acceptance;
  readonly #lookup = new LookupForecast();
  /** Drafts of a second model, and of an exit adapter. */
  readonly #chains: Readonly<Record<ChainDrafter, Acceptance>> = {
    model: new Acceptance(ONLY + 1, [ONLY], DEFAULT_ACCEPTANCE),
    adapter: new Acceptance(ONLY + 1, [ONLY], DEFAULT_ACCEPTANCE),
  };
  /** Drafts of lookup that were foreseen, and those that were accepted. */
  readonly #foreseen = { drafts: FORESEEN_PRIOR, accepted: FORESEEN_PRIOR };
  /** What was foreseen of each lookup that has not been reported. */
  readonly #unreported: number[] = [];
  readonly #trees = new Map<DrafterKind, TreeAcceptance>();

  /** @param exitLayers candidates, ascending */
  constructor(layers: number, exitLayers: readonly number[], prior: AcceptancePrior) {
    this.#exits = new Acceptance(layers, exitLayers, prior);
  }

  /** The text goes on with `ids`. */
  tell(ids: readonly number[]): void {
    this.#lookup.tell(ids);
  }

  /** A round of a plan was planned. */
  planned(plan: Expected & { readonly tokens: number }): void {
    if (drafterOf(plan) === "lookup") this.#unreported.push(plan.tokens - 1);
  }

  observe(outcome: RoundOutcome): void {
    const { plan } = outcome;
    const drafter = drafterOf(plan);
    this.#forget();
    const chain = chainDrafter(plan);
    if (drafter === "none" || isChain(plan)) this.#exits.observe(plan.exitLayer, outcome);
    else if (chain) this.#chains[chain].observe(ONLY, outcome);
    else if (drafter !== "lookup") this.#treesOf(drafter).observe(outcome);
    else {
      this.#foreseen.drafts += this.#unreported.shift() ?? 0;
      this.#foreseen.accepted += outcome.accepted;
    }
  }

  /** What was seen of forecasts goes back to nothing: a text that has ended to repeat itself may begin again. */
  #forget(): void {
    for (const name of ["drafts", "accepted"] as const) {
      this.#foreseen[name] = FORESEEN_PRIOR + (this.#foreseen[name] - FORESEEN_PRIOR) * FORESEEN_DISCOUNT;
    }
  }

  /** Expected tokens of a round, the full model's own among them. */
  tokens(plan: Expected): number {
    return this.#of(plan, 0);
  }

  /** The same as it may well be: more, where little was seen. */
  hopedTokens(plan: Expected): number {
    return this.#of(plan, OPTIMISM);
  }

  /** Whether what a plan will give is known without a round of it. */
  foresees(plan: Expected): boolean {
    return drafterOf(plan) === "lookup";
  }

  #of(plan: Expected, deviations: number): number {
    const drafter = drafterOf(plan);
    if (drafter === "none") return 1;
    if (isChain(plan)) return expectedTokens(this.#exits.of(plan.exitLayer, deviations), plan.draftLength);
    const chain = chainDrafter(plan);
    if (chain) return expectedTokens(this.#chains[chain].of(ONLY, deviations), plan.draftLength);
    if (drafter === "lookup") {
      const { drafts, accepted } = this.#foreseen;
      return 1 + (this.#lookup.tokens(draftsOf(plan)) - 1) * Math.min(1, accepted / drafts);
    }
    const trees = this.#treesOf(drafter);
    return deviations > 0 ? trees.hopedTokens(plan) : trees.tokens(plan);
  }

  #treesOf(drafter: DrafterKind): TreeAcceptance {
    const trees = this.#trees.get(drafter) ?? new TreeAcceptance();
    this.#trees.set(drafter, trees);
    return trees;
  }
}

/** Who drafts a chain, of those that have no exit layers to choose from. */
function chainDrafter(plan: Expected): ChainDrafter | undefined {
  const drafter = drafterOf(plan);
  return (drafter === "model" || drafter === "adapter") && !plan.treeSize ? drafter : undefined;
}

/** Drafts of the early layers alone. */
function isChain(plan: Expected): boolean {
  return drafterOf(plan) === "layerskip" && !plan.treeSize;
}
