/**
 * What each drafter gives on five kinds of text: tokens a round, and time against plain decoding with the price model's
 * prediction beside it.
 *
 * A prompt is computed once; each way goes on from its keys and values. The ways take turns, plain decoding first, and a
 * speed-up is the median of the ratios to plain decoding's time of the same repetition. What a drafter learns it keeps from
 * prompt to prompt, each way its own.
 */

import { Prices } from "../src/decode/controllers/prices.ts";
import type { RoundPlan } from "../src/decode/plan.ts";
import type { DraftModel, GenerateOptions, GenerationResult, Model, Round } from "../src/index.ts";
import { bytesRead } from "./decode.ts";
import { median } from "./kernels/statistics.ts";
import type { BenchPrompt } from "./prompts.ts";

export interface DrafterWay {
  name: string;
  drafting: Pick<GenerateOptions, "drafter" | "exitLayer" | "draftLength" | "treeSize" | "controller">;
}

export interface DraftersBenchOptions {
  prompts: readonly BenchPrompt[];
  /** At least 2: the first token is the prefill's. */
  maxTokens: number;
  repetitions: number;
  /** Beside plain decoding. */
  ways: readonly DrafterWay[];
  draftModel: DraftModel | undefined;
}

/** What one way did on one prompt. */
export interface DrafterRow {
  prompt: string;
  promptTokens: number;
  way: string;
  tokens: number;
  rounds: number;
  tokensPerRound: number;
  drafted: number;
  accepted: number;
  msPerToken: number;
  /** Plain time / this time; 1 for plain decoding. */
  speedup: number;
  /** The same by the price model, fitted to all other ways' rounds of the prompt; undefined for those that choose plans. */
  predicted: number | undefined;
  /** The same where only the bytes of the weights count: a GPU bound by bandwidth. */
  speedupByBytes: number;
  idsEqual: boolean;
}

const WARMING_TOKENS = 4;
const PLAIN: DrafterWay = { name: "plain", drafting: { drafter: "none" } };

/** Runs the comparison; `onDone` hears of each prompt that is done. */
export async function benchDrafters(
  model: Model,
  { prompts, maxTokens, repetitions, ways: others, draftModel }: DraftersBenchOptions,
  onDone: (rows: readonly DrafterRow[]) => void | Promise<void> = () => {},
): Promise<DrafterRow[]> {
  const ways = [PLAIN, ...others];
  const memories = new Map<string, Uint8Array>();
  const nothing = await model.saveDraftMemory();
  const rows: DrafterRow[] = [];
  for (const { name, prompt } of prompts) {
    // The second model, where there is one, goes through the prompt with the first.
    const opening = { maxTokens: 1, ignoreEos: true, ...(draftModel && { drafter: draftModel }) };
    const { promptIds } = await model.generate(prompt, opening).result();
    const run = async ({ name: way, drafting }: DrafterWay, most = maxTokens): Promise<GenerationResult> => {
      await model.loadDraftMemory(memories.get(way) ?? nothing);
      return await model.generate(promptIds, { maxTokens: most, ignoreEos: true, ...drafting }).result();
    };
    // A first short run of each way compiles and warms; it is not counted, and what it learns is forgotten.
    if (rows.length === 0) for (const way of ways) await run(way, Math.min(maxTokens, WARMING_TOKENS));

    const results = new Map<string, GenerationResult>();
    const times = new Map<string, number[]>(ways.map((way) => [way.name, []]));
    for (let i = 0; i < repetitions; i++) {
      for (const way of ways) {
        const result = await run(way);
        results.set(way.name, result);
        times.get(way.name)!.push(result.stats.decodeMs);
        if (i === repetitions - 1) memories.set(way.name, await model.saveDraftMemory());
      }
    }
    const plain = results.get(PLAIN.name)!;
    const ofPrompt = ways.map((way): DrafterRow => {
      const { rounds, stats, ids: wayIds } = results.get(way.name)!;
      const decoded = Math.max(1, stats.tokens - 1);
      const ms = times.get(way.name)!;
      const ratios = ms.map((each, i) => times.get(PLAIN.name)![i]! / each);
      return {
        ...{ prompt: name, promptTokens: promptIds.length, way: way.name },
        ...{ tokens: stats.tokens, rounds: rounds.length, tokensPerRound: decoded / rounds.length },
        ...{ drafted: stats.drafted, accepted: stats.accepted },
        msPerToken: median(ms) / decoded,
        speedup: median(ratios),
        predicted: predictedSpeedup(model, draftModel, results, way.name),
        speedupByBytes: bytesRead(model, plain.rounds) / bytesRead(model, rounds, { draftModel }),
        idsEqual: wayIds.length === plain.ids.length && wayIds.every((id, i) => id === plain.ids[i]),
      };
    });
    rows.push(...ofPrompt);
    await onDone(ofPrompt);
  }
  return rows;
}

/** What prices fitted to all other ways' rounds say of a way that follows one plan. */
function predictedSpeedup(
  model: Model,
  draftModel: DraftModel | undefined,
  results: ReadonlyMap<string, GenerationResult>,
  way: string,
): number | undefined {
  const { rounds, stats } = results.get(way)!;
  const plans = stats.plans.filter(({ rounds: count }) => count > 0);
  const [plan] = plans;
  if (!plan || plans.length > 1) return undefined;
  const prices = new Prices(model.priceShape(draftModel));
  const plain = results.get(PLAIN.name)!;
  for (const [name, { rounds: others }] of results) {
    if (name === way && way !== PLAIN.name) continue;
    for (const round of others) prices.observe(outcomeOf(round));
  }
  const decoded = Math.max(1, stats.tokens - 1);
  const plainPlan = plain.stats.plans[0]!;
  return (decoded * prices.milliseconds(plainPlan)) / (rounds.length * prices.milliseconds(plan));
}

function outcomeOf({ drafted, accepted, startMs, endMs, ...round }: Round) {
  const { drafter, exitLayer, draftLength, treeSize } = round;
  const plan: RoundPlan = { drafter, exitLayer, draftLength, treeSize };
  return { plan, drafted, accepted, probabilities: [], shadows: [], milliseconds: endMs - startMs };
}
