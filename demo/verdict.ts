/** Two runs of the same prompt compared, in numbers and in plain words. */

import type { GenerationResult } from "../src/index.ts";
import { count, percent, significant } from "./format.ts";

export interface Comparison {
  plain: GenerationResult;
  drafted: GenerationResult;
  /** The drafter. */
  name: string;
}

/** A line of the table. `ratio` is drafting's value over plain's. */
export interface ComparisonRow {
  name: string;
  plain: string;
  drafted: string;
  ratio: string;
}

const NONE = "–";

export function identicalIds({ plain, drafted }: Comparison): boolean {
  return firstDifference(plain.ids, drafted.ids) === undefined;
}

export function rows({ plain, drafted }: Comparison): ComparisonRow[] {
  return [
    row("Tokens a second", plain, drafted, (result) => result.stats.tokensPerSecond, significant),
    row("Rounds (full passes)", plain, drafted, (result) => result.rounds.length, count),
    row("Tokens a round", plain, drafted, (result) => decoded(result) / result.rounds.length, significant),
    row("Dispatches a token", plain, drafted, (result) => result.stats.dispatches / decoded(result), significant),
    row("Submissions", plain, drafted, (result) => result.stats.submits, count),
    {
      name: "Drafts accepted",
      plain: NONE,
      drafted: drafted.stats.drafted > 0 ? percent(drafted.stats.acceptanceRate) : NONE,
      ratio: "",
    },
  ];
}

/** @param software a software adapter computed */
export function verdict(comparison: Comparison, software: boolean): string {
  const { plain, drafted } = comparison;
  const difference = firstDifference(plain.ids, drafted.ids);
  if (difference !== undefined) {
    return `The texts differ from token ${difference + 1} on. That must never happen: please report it, with this device's name.`;
  }
  if (plain.rounds.length === 0) return "The text is the same. It is too short to compare speeds.";
  const speed = drafted.stats.tokensPerSecond / plain.stats.tokensPerSecond;
  const caveat = software
    ? " On a software adapter this says nothing of a GPU."
    : " One run each: repeat it for a steadier number.";
  return `${judgement(speed, comparison)}${caveat}`;
}

function judgement(speed: number, { plain, drafted }: Comparison): string {
  const same = plain.seed === undefined ? "The same text" : `The same text from the same seed, ${plain.seed},`;
  const passes = `${count(drafted.rounds.length)} full passes instead of ${count(plain.rounds.length)}`;
  const times = `${speed.toFixed(2)} times plain's speed`;
  if (drafted.stats.drafted === 0) return `${same} at ${times}: nothing was drafted.`;
  if (speed >= 1.05) return `${same} at ${times}: ${passes}.`;
  if (speed > 0.95)
    return `${same} at about the same speed (${times}): ${passes}, but the drafts cost what that saved.`;
  return `${same} but slower here, at ${times}: ${passes}, and the drafts cost more than that saved.`;
}

function row(
  name: string,
  plain: GenerationResult,
  drafted: GenerationResult,
  value: (result: GenerationResult) => number,
  format: (value: number) => string,
): ComparisonRow {
  const [a, b] = [value(plain), value(drafted)];
  const show = (x: number) => (Number.isFinite(x) ? format(x) : NONE);
  return {
    name,
    plain: show(a),
    drafted: show(b),
    ratio: a > 0 && Number.isFinite(b / a) ? `${(b / a).toFixed(2)}×` : "",
  };
}

/** Tokens of the rounds: all but the prefill's. */
function decoded({ stats }: GenerationResult): number {
  return stats.tokens - 1;
}

/** Index of the first id that differs, the shorter length included; undefined when they are the same. */
function firstDifference(a: readonly number[], b: readonly number[]): number | undefined {
  const length = Math.max(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return undefined;
}
