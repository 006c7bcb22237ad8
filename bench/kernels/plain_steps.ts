/** Plain steps of a synthetic model at positions of one's choice: what decoding one token takes there. */

import { plainPlan } from "../../src/decode/scheduler.ts";
import type { SyntheticModel } from "../synthetic.ts";

/** Any token: what a step takes does not depend on it. */
const PENDING = 1;

/** Positions past a step's that its context must hold: its own, and that of the token it emits. */
export const STEP_ROOM = 2;

export class PlainSteps {
  readonly #model: SyntheticModel;
  readonly #contextLength: number;

  constructor(model: SyntheticModel, contextLength: number) {
    this.#model = model;
    this.#contextLength = contextLength;
  }

  /** Compiles what steps, and prompts, need. */
  async prepare(): Promise<void> {
    await this.#model.scheduler.prepare(plainPlan(this.#model.spec.layers));
  }

  /** Milliseconds of one step at each of `positions`, from the submission to the token that is read back, added up. */
  async time(positions: readonly number[]): Promise<number> {
    const { state, scheduler, spec } = this.#model;
    const begun = performance.now();
    for (const position of positions) {
      const contextLength = this.#contextLength;
      state.begin({ draftLength: 0, maxTokens: contextLength, contextLength, eosTokenIds: [] }, position, PENDING);
      await scheduler.round(plainPlan(spec.layers), position);
    }
    return performance.now() - begun;
  }
}
