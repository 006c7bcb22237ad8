/** Always the same plan, as in LayerSkip (Elhoushi et al. 2024, section 4): exit layer and draft length are the user's. */

import type { Controller, RoundPlan } from "../plan.ts";

export class FixedController implements Controller {
  readonly #plan: RoundPlan;

  constructor(plan: RoundPlan) {
    this.#plan = plan;
  }

  plan(): RoundPlan {
    return this.#plan;
  }

  /** Nothing that happens changes the plan. */
  observe(): void {}
}
