/** The drafters of a model by name, made when first needed. A new one is a line of `DRAFTERS` and of `DrafterKind`. */

import type { Forward } from "../../forward/forward.ts";
import { type DrafterKind, drafterOf, type RoundPlan } from "../plan.ts";
import { ModelDrafter } from "./draft_model.ts";
import type { DraftingKit, GpuDrafter } from "./drafter.ts";
import { EarlyExitDrafter } from "./early_exit.ts";
import { Followers } from "./followers.ts";
import { ProposalDrafter } from "./host_drafter.ts";
import { OuroborosDrafter } from "./ouroboros.ts";
import { PromptLookupDrafter } from "./prompt_lookup.ts";
import { TokenRecyclingDrafter } from "./token_recycling.ts";

/** Drafters that work without the host, and need nothing beside the model. */
type GpuDrafterKind = Exclude<DrafterKind, "none" | "model" | "own">;

/** How each is made. */
const DRAFTERS: Readonly<Record<GpuDrafterKind, (kit: DraftingKit, drafters: Drafters) => GpuDrafter>> = {
  layerskip: (kit) => new EarlyExitDrafter(kit),
  adapter: (kit) => new EarlyExitDrafter(kit, (recorder, row) => kit.forward.exitAdapter!.finish(recorder, row)),
  lookup: (kit) => new PromptLookupDrafter(kit),
  recycle: (kit, { followers }) => new TokenRecyclingDrafter(kit, followers),
  ouroboros: (_, drafters) => new OuroborosDrafter(drafters.get("layerskip"), drafters.get("recycle")),
};

/** Those whose rounds draw on what followed each token. */
const RECYCLING: readonly DrafterKind[] = ["recycle", "ouroboros"];

export class Drafters {
  /** Takes what a drafter on the host proposes. */
  readonly own: ProposalDrafter;
  readonly #kit: DraftingKit;
  readonly #made = new Map<GpuDrafterKind, GpuDrafter>();
  #followers: Followers | undefined;
  readonly #models = new Map<Forward, ModelDrafter>();
  /** The second model that drafts now. */
  #model: ModelDrafter | undefined;

  constructor(kit: DraftingKit) {
    this.#kit = kit;
    this.own = new ProposalDrafter(kit);
  }

  /** What followed each token lately, shared by those who draw on it. */
  get followers(): Followers {
    this.#followers ??= new Followers(this.#kit);
    return this.#followers;
  }

  /** Who drafts the rounds of a plan; undefined: nobody. */
  of(plan: RoundPlan): GpuDrafter | undefined {
    const kind = drafterOf(plan);
    if (kind === "none") return undefined;
    if (kind === "model") return this.#model;
    return kind === "own" ? this.own : this.get(kind);
  }

  /** The second model that drafts from now on, over the same row table. */
  use(forward: Forward): void {
    this.#model = this.#models.get(forward) ?? new ModelDrafter(this.#kit, forward);
    this.#models.set(forward, this.#model);
  }

  get(kind: GpuDrafterKind): GpuDrafter {
    const drafter = this.#made.get(kind) ?? DRAFTERS[kind](this.#kit, this);
    this.#made.set(kind, drafter);
    return drafter;
  }

  /** Who learns from the rounds of these plans; undefined: nobody. */
  learnerOf(plans: readonly RoundPlan[]): Followers | undefined {
    return plans.some((plan) => RECYCLING.includes(drafterOf(plan))) ? this.followers : undefined;
  }
}
