/** The drafters of a model by name, made when first needed. */

import { type DrafterKind, drafterOf, type RoundPlan } from "../plan.ts";
import type { DraftingKit, GpuDrafter } from "./drafter.ts";
import { EarlyExitDrafter } from "./early_exit.ts";
import { ProposalDrafter } from "./host_drafter.ts";

/** How each is made. */
const DRAFTERS: Readonly<Record<Exclude<DrafterKind, "none" | "own">, (kit: DraftingKit) => GpuDrafter>> = {
  layerskip: (kit) => new EarlyExitDrafter(kit),
};

export class Drafters {
  /** Takes what a drafter on the host proposes. */
  readonly own: ProposalDrafter;
  readonly #kit: DraftingKit;
  readonly #made = new Map<DrafterKind, GpuDrafter>();

  constructor(kit: DraftingKit) {
    this.#kit = kit;
    this.own = new ProposalDrafter(kit);
    this.#made.set("own", this.own);
  }

  /** Who drafts the rounds of a plan; undefined: nobody. */
  of(plan: RoundPlan): GpuDrafter | undefined {
    const kind = drafterOf(plan);
    if (kind === "none" || kind === "own") return this.#made.get(kind);
    const drafter = this.#made.get(kind) ?? DRAFTERS[kind](this.#kit);
    this.#made.set(kind, drafter);
    return drafter;
  }
}
