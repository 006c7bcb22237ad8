/** Decodes recorded texts without a model: rounds accept what the recording says, cost what a table says, and are reported a round late. */

import type { Random } from "../../../src/decode/controllers/random.ts";
import type { Controller, RoundOutcome, RoundPlan, ShadowAgreement } from "../../../src/decode/plan.ts";

export interface RecordedText {
  readonly name: string;
  readonly layers: number;
  /** By exit layer: from each position of the text, how many drafts in a row agree with the text. */
  readonly exits: Readonly<Record<string, readonly number[]>>;
}

export interface Replay {
  readonly tokens: number;
  readonly rounds: number;
  /** Of the cost table, without noise. */
  readonly milliseconds: number;
  readonly plans: readonly RoundPlan[];
}

export interface ReplayOptions {
  readonly cost: (plan: RoundPlan) => number;
  /** Sees each outcome before the controller does, as prices do. */
  readonly observe?: (outcome: RoundOutcome) => void;
  /** Makes the reported time of the true one. */
  readonly noise?: (milliseconds: number) => number;
  /** Makes the drafts' probabilities. */
  readonly random: Random;
}

export function textLength({ exits }: RecordedText): number {
  return Object.values(exits)[0]!.length;
}

/** How many drafts in a row agree from position `n`. */
function runAt(text: RecordedText, exitLayer: number, n: number): number {
  return exitLayer === text.layers ? 0 : text.exits[exitLayer]![n]!;
}

/** What becomes of a round that begins with `n` tokens emitted. */
export function playRound(
  text: RecordedText,
  plan: RoundPlan,
  n: number,
  random: Random,
): Omit<RoundOutcome, "milliseconds"> {
  const run = runAt(text, plan.exitLayer, n);
  const most = Math.min(plan.draftLength, textLength(text) - n - 1);
  const probabilities: number[] = [];
  while (probabilities.length < most) {
    const agrees = probabilities.length < run;
    probabilities.push(Math.max(0, Math.min(1, (agrees ? 0.8 : 0.4) + 0.2 * (2 * random.uniform() - 1))));
    if (probabilities[probabilities.length - 1]! < (plan.leastProbability ?? 0)) break;
  }
  const drafted = probabilities.length;
  const accepted = Math.min(run, drafted);
  const rows = Array.from({ length: accepted + 1 }, (_, row) => n + row);
  const shadows = (plan.shadowExits ?? []).map(
    (exitLayer): ShadowAgreement => ({
      exitLayer,
      agreed: rows.filter((at) => runAt(text, exitLayer, at) > 0).length,
      of: rows.length,
    }),
  );
  return { plan, drafted, accepted, probabilities, shadows };
}

export function replay(text: RecordedText, controller: Controller, options: ReplayOptions): Replay {
  const { cost, observe, noise = (milliseconds) => milliseconds, random } = options;
  const plans: RoundPlan[] = [];
  let tokens = 0;
  let milliseconds = 0;
  let unreported: RoundOutcome | undefined;
  const report = (): void => {
    if (!unreported) return;
    observe?.(unreported);
    controller.observe(unreported);
    unreported = undefined;
  };
  while (tokens < textLength(text)) {
    const plan = controller.plan();
    const outcome = playRound(text, plan, tokens, random);
    const took = cost(plan);
    report();
    plans.push(plan);
    tokens += outcome.accepted + 1;
    milliseconds += took;
    unreported = { ...outcome, milliseconds: noise(took) };
  }
  report();
  return { tokens, rounds: plans.length, milliseconds, plans };
}
