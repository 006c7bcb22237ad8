/** What a round of each plan may be expected to emit in this text, whoever drafts it. */

import { type DrafterKind, drafterOf, draftsOf, type RoundOutcome, type RoundPlan } from "../plan.ts";
import { Acceptance, type AcceptancePrior } from "./acceptance.ts";
import { expectedTokens } from "./expected_tokens.ts";
import { LookupForecast } from "./lookup_forecast.ts";
import { TreeAcceptance } from "./tree_acceptance.ts";

/** Standard deviations above its mean where acceptance may well be. */
const OPTIMISM = 0.25;

type Expected = Pick<RoundPlan, "drafter" | "exitLayer" | "draftLength" | "treeSize">;

export class Expectations {
  readonly #exits: Acceptance;
  readonly #lookup = new LookupForecast();
  readonly #trees = new Map<DrafterKind, TreeAcceptance>();

  /** @param exitLayers candidates, ascending */
  constructor(layers: number, exitLayers: readonly number[], prior: AcceptancePrior) {
    this.#exits = new Acceptance(layers, exitLayers, prior);
  }

  /** The text goes on with `ids`. */
  tell(ids: readonly number[]): void {
    this.#lookup.tell(ids);
  }

  observe(outcome: RoundOutcome): void {
    const { plan } = outcome;
    const drafter = drafterOf(plan);
    if (drafter === "none" || isChain(plan)) this.#exits.observe(plan.exitLayer, outcome);
    else if (drafter !== "lookup") this.#treesOf(drafter).observe(outcome);
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
    if (drafter === "lookup") return this.#lookup.tokens(draftsOf(plan));
    const trees = this.#treesOf(drafter);
    return deviations > 0 ? trees.hopedTokens(plan) : trees.tokens(plan);
  }

  #treesOf(drafter: DrafterKind): TreeAcceptance {
    const trees = this.#trees.get(drafter) ?? new TreeAcceptance();
    this.#trees.set(drafter, trees);
    return trees;
  }
}

/** Drafts of the early layers alone. */
function isChain(plan: Expected): boolean {
  return drafterOf(plan) === "layerskip" && !plan.treeSize;
}
