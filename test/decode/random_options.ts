/** Options at random, for tests that compare texts. */

import type { GenerateOptions } from "../../src/index.ts";
import type { Random } from "../reference/random.ts";

export function randomSampling(random: Random, vocabSize: number): GenerateOptions {
  const some = <T>(value: () => T): T | undefined => (random.uniform() < 0.4 ? value() : undefined);
  const options = {
    temperature: random.pick([0, 0.3, 0.7, 1, 1, 1.6]),
    topK: some(() => random.int(1, 60)),
    topP: some(() => 0.1 + 0.89 * random.uniform()),
    minP: some(() => 0.3 * random.uniform()),
    typicalP: some(() => 0.2 + 0.79 * random.uniform()),
    repetitionPenalty: some(() => 0.8 + random.uniform()),
    frequencyPenalty: some(() => 2 * random.uniform() - 0.5),
    presencePenalty: some(() => 2 * random.uniform() - 0.5),
    logitBias: some(() => new Map([[random.int(0, vocabSize - 1), 6 * random.uniform() - 3]])),
    seed: random.int(0, 2 ** 31 - 1) * 2 ** 21 + 5,
    logprobs: some(() => true),
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** A drafter that makes trees, by name. */
export function randomDrafting(random: Random, layers: number, mostRows: number): GenerateOptions {
  const drafter = random.pick(["layerskip", "lookup", "recycle", "ouroboros"] as const);
  if (drafter === "lookup" || drafter === "recycle") return { drafter, treeSize: random.int(1, mostRows) };
  const draftLength = random.int(1, Math.min(6, mostRows - 1));
  const treeSize = random.int(1, mostRows - draftLength);
  return { drafter, exitLayer: random.int(1, layers - 1), draftLength, treeSize };
}
