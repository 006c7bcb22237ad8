/** What the governor did, in words: why a round was as it was, and a run in one sentence. */

import type { PlanDecision, PlanPrice, Round } from "../src/index.ts";
import { count, counted, percent } from "./format.ts";
import { isPlain, isPlan, planWords } from "./plan_words.ts";

/** Expected tokens a millisecond. */
export function rate({ tokens, milliseconds }: PlanPrice): number {
  return tokens / milliseconds;
}

/** The fastest by what is expected. */
export function fastest(prices: readonly PlanPrice[]): PlanPrice | undefined {
  return prices.reduce<PlanPrice | undefined>(
    (best, each) => (best && rate(best) >= rate(each) ? best : each),
    undefined,
  );
}

/** Why the governor chose a round's plan. */
export function reasonWords({ reason, prices }: PlanDecision): string {
  switch (reason) {
    case "best":
      return "Chosen as the fastest by what is expected, among the plans that may be risked.";
    case "probe":
      return "A probe: tried in order to know, though another plan is expected to be faster.";
    case "plain": {
      const best = fastest(prices);
      return best && isPlain(best)
        ? "Plain decoding, since no drafts are expected to be faster."
        : "Plain decoding: drafts are priced faster, but by too little, or may not be risked yet.";
    }
    default:
      return `Chosen for the reason “${reason}”.`;
  }
}

/** A run's decisions in one sentence; undefined where the governor took none. */
export function governorSummary(rounds: readonly Round[]): string | undefined {
  const decided = rounds.filter(({ decision }) => decision);
  if (decided.length === 0) return undefined;
  const drafting = decided.filter((round) => !isPlain(round));
  const best = drafting.filter(({ decision }) => decision?.reason === "best");
  const of = counted(decided.length, "round");
  const all = decided.length === 1 ? of : `all ${of}`;
  if (drafting.length === 0) return `The governor decoded plainly in ${all}${draftsSlower(decided)}.`;
  const did = `The governor drafted in ${drafting.length === decided.length ? all : `${count(drafting.length)} of ${of}`}`;
  if (best.length === 0) return `${did}, each time to try it${draftsSlower(decided)}.`;
  return `${did}, ${usualPlan(best)}${2 * best.length >= decided.length ? plainSlower(best) : draftsSlower(decided)}.`;
}

function usualPlan(rounds: readonly Round[]): string {
  const times = new Map<string, number>();
  for (const round of rounds) times.set(planWords(round), (times.get(planWords(round)) ?? 0) + 1);
  const [[words] = [""]] = [...times].sort(([, a], [, b]) => b - a);
  return `${times.size === 1 ? "" : "mostly "}${words}`;
}

/** What plain decoding would have been where drafts were the best. */
function plainSlower(rounds: readonly Round[]): string {
  const speed = median(
    rounds.map(({ decision, ...plan }) =>
      ratio(
        plainOf(decision),
        decision?.prices.find((each) => isPlan(each, plan)),
      ),
    ),
  );
  return speed === undefined ? "" : `; plain decoding was priced ${difference(speed)}`;
}

/** What drafting would have been where plain decoding was chosen. */
function draftsSlower(rounds: readonly Round[]): string {
  const plain = rounds.filter(({ decision }) => decision?.reason === "plain");
  const speed = median(
    plain.map(({ decision }) => {
      const drafts = decision?.prices.filter((price) => !isPlain(price)) ?? [];
      return ratio(fastest(drafts), plainOf(decision));
    }),
  );
  if (speed === undefined) return "";
  if (speed <= 1) return `; the best drafts were priced ${difference(speed)}`;
  return `; in the others, drafts were priced ${difference(speed)}, but could not be risked`;
}

function plainOf(decision: PlanDecision | undefined): PlanPrice | undefined {
  return decision?.prices.find(isPlain);
}

/** How fast the one plan is as a share of the other. */
function ratio(one: PlanPrice | undefined, other: PlanPrice | undefined): number {
  return one && other ? rate(one) / rate(other) : Number.NaN;
}

function median(values: readonly number[]): number | undefined {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** "12 % slower"; the number and its sign stay on one line. */
function difference(speed: number): string {
  return `${percent(Math.abs(1 - speed)).replaceAll(" ", "\u00a0")} ${speed <= 1 ? "slower" : "faster"}`;
}
