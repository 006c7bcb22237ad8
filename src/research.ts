/**
 * `layerleap/research`: for those who try drafters. The interfaces of a drafter of your own, and what tells whether it is any
 * good. docs/drafters.md is the tutorial.
 */

import type { Model } from "./session/model.ts";
import type { GenerateOptions, GenerationStats, Prompt } from "./types.ts";

export type {
  DraftContext,
  DraftNode,
  DraftOutcome,
  DraftTree,
  HostDrafter as Drafter,
} from "./decode/drafters/host_drafter.ts";
export type { RoundPlan } from "./decode/plan.ts";

/** What a drafter did on a prompt. */
export interface DrafterTrial {
  /** Tokens that its rounds emitted (not that of the prompt's end), and rounds. */
  tokens: number;
  rounds: number;
  tokensPerRound: number;
  /** Rows that it had verified, and how many of them were accepted. */
  drafted: number;
  accepted: number;
  /** Time of its rounds over that of plain decoding, this run: below 1 it was faster. Noisy: by tens of percent. */
  timeRatio: number;
  /** Whether the ids were those of plain decoding. Should this ever be false, it is a bug of the library: report it. */
  sameText: boolean;
  stats: GenerationStats;
}

/** Tokens that are tried where nothing is said. */
const TRIED_TOKENS = 64;

/** Options of both runs: all that do not make the text end by time. */
export type TrialOptions = Omit<GenerateOptions, "drafter" | "signal" | "timeLimitMs">;

/**
 * Generates twice, plainly and with a drafter, and compares.
 * @param drafter yours, or what else `generate` takes. One that learns remembers the text it was tried on: give a new object
 *   each time.
 * @param options of both, such as `temperature`; 64 tokens where `maxTokens` is not given
 * @throws what `model.generate` throws, and what the drafter throws
 */
export async function tryDrafter(
  model: Model,
  drafter: NonNullable<GenerateOptions["drafter"]>,
  prompt: Prompt,
  options: TrialOptions = {},
): Promise<DrafterTrial> {
  const shared = { maxTokens: TRIED_TOKENS, ...options };
  const plain = await model.generate(prompt, { ...shared, drafter: "none" }).result();
  // The noise of both is the same.
  const { seed } = plain;
  const drafted = await model.generate(prompt, { ...shared, ...(seed !== undefined && { seed }), drafter }).result();
  const rounds = drafted.rounds.length;
  const tokens = drafted.ids.length - 1;
  const { stats } = drafted;
  return {
    ...{ tokens, rounds, tokensPerRound: rounds > 0 ? tokens / rounds : 0 },
    ...{ drafted: stats.drafted, accepted: stats.accepted },
    timeRatio: plain.stats.decodeMs > 0 ? stats.decodeMs / plain.stats.decodeMs : 1,
    sameText: drafted.ids.length === plain.ids.length && drafted.ids.every((id, i) => id === plain.ids[i]),
    stats,
  };
}
