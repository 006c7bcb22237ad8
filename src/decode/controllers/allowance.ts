/**
 * What drafting may have lost against plain decoding at any time in a text. Ours: it makes 'never slower than plain' a
 * budget, whatever the acceptance was expected to be. A unit is the time of a plain round.
 */

/** Steps that may be lost before anything was saved, and further ones per token of the text. */
const FIRST_STEPS = 2;
const STEPS_A_TOKEN = 0.01;
/** Rounds that are submitted but not reported, at most. */
const MOST_UNREPORTED = 2;

export class Allowance {
  #saved = 0;
  #tokens = 0;
  /** What each round not yet reported may lose. */
  readonly #unreported: number[] = [];

  /** Whether a round may be planned that takes `loss` steps more than plain decoding's if none of its drafts is accepted. */
  covers(loss: number): boolean {
    const atWorst = this.#unreported.reduce((sum, each) => sum - each, this.#saved - loss);
    return loss <= 0 || atWorst >= -(FIRST_STEPS + STEPS_A_TOKEN * this.#tokens);
  }

  /** A round was planned that may lose `loss` steps. */
  planned(loss: number): void {
    this.#unreported.push(loss);
    if (this.#unreported.length > MOST_UNREPORTED) this.#unreported.shift();
  }

  /** A round emitted `tokens` in the time of `steps` plain rounds. */
  observe(tokens: number, steps: number): void {
    this.#unreported.shift();
    this.#saved += tokens - steps;
    this.#tokens += tokens;
  }
}
