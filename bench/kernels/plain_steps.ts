/** Plain steps of a synthetic model at positions of one's choice: what decoding one token takes there. */

import { plainPlan } from "../../src/decode/plan.ts";
import type { Opening } from "../../src/decode/scheduler.ts";
import type { SyntheticModel } from "../synthetic.ts";

/** Any token: what a step takes does not depend on it. */
const PENDING = 1;

/** Positions past a step's that its context must hold: its own, and that of the token it emits. */
export const STEP_ROOM = 2;

export class PlainSteps {
  readonly #model: SyntheticModel;
  readonly #contextLength: number;
  #begin: (() => Opening) | undefined;

  constructor(model: SyntheticModel, contextLength: number) {
    this.#model = model;
    this.#contextLength = contextLength;
  }

  /** Compiles what steps, and prompts, need. */
  async prepare(): Promise<void> {
    this.#begin = await this.#model.scheduler.prepare([]);
  }

  /** Milliseconds of one step at each of `positions`, from the submission to the token that is read back, added up. */
  async time(positions: readonly number[]): Promise<number> {
    const { scheduler, spec } = this.#model;
    const contextLength = this.#contextLength;
    const selection = this.#begin!();
    const begun = performance.now();
    for (const position of positions) {
      scheduler.begin({ maxTokens: contextLength, contextLength, eosTokenIds: [] }, selection, {
        length: position,
        pending: PENDING,
      });
      await scheduler.round(plainPlan(spec.layers), position).report;
    }
    return performance.now() - begun;
  }
}
