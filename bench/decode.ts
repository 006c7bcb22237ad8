/**
 * How much drafting gains: plain decoding and drafting plans on the same prompt, run in turn.
 *
 * Every repetition runs plain decoding and then each plan, and a plan's speed-up is the median of its ratios to the plain
 * run of the same repetition: what else the machine does falls on both. The counts (tokens a round, dispatches, bytes of
 * weights) do not depend on the machine; they say what a GPU, which is bound by bytes and launches, would gain.
 */

import type { Dtype, GenerationResult, Model } from "../src/index.ts";
import { median } from "./kernels/statistics.ts";

export interface DecodePlan {
  exitLayer: number;
  draftLength: number;
}

export interface DecodeBenchOptions {
  prompt: string;
  /** At least 2: the first token is the prefill's. */
  maxTokens: number;
  repetitions: number;
  plans: readonly DecodePlan[];
}

/** One way of decoding. Plain decoding has no plan. */
export interface DecodeRow {
  plan: DecodePlan | undefined;
  tokens: number;
  rounds: number;
  tokensPerRound: number;
  acceptanceRate: number;
  dispatchesPerToken: number;
  readbackBytesPerRound: number;
  /** Bytes of weights read a token, counted from the shapes. */
  weightBytesPerToken: number;
  /** Median milliseconds a token. */
  msPerToken: number;
  /** Median of plain time / this time, pair by pair; 1 for plain decoding. */
  speedup: number;
  /** Smallest and largest of those ratios. */
  speedupRange: [number, number];
  /** Plain weight bytes / these weight bytes: the speed-up where only the bytes of the weights count. */
  speedupByBytes: number;
  /** The ids of every run equal plain decoding's. */
  idsEqual: boolean;
}

/** Bytes of an element of a matrix, in the layers and in the head; block codes with their share of a scale. */
const ELEMENT_BYTES: Record<Dtype, { layer: number; head: number }> = {
  f32: { layer: 4, head: 4 },
  f16: { layer: 2, head: 2 },
  q8: { layer: 34 / 32, head: 34 / 32 },
  q4: { layer: 18 / 32, head: 34 / 32 },
};

/** Bytes of the weights of one decoder layer, and of the head, what pads them left out. Norms are f32. */
function weightBytes({ spec, dtype, weightBytes, parameters }: Model): { layer: number; head: number } {
  const stored = { layer: weightBytes / parameters, head: weightBytes / parameters };
  const bytes = dtype === "stored" ? stored : ELEMENT_BYTES[dtype];
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = spec;
  const attention = hiddenSize * (heads + 2 * kvHeads) * headDim + heads * headDim * hiddenSize;
  return {
    layer: bytes.layer * (attention + 3 * hiddenSize * intermediateSize) + 4 * 2 * hiddenSize,
    head: bytes.head * vocabSize * hiddenSize,
  };
}

/** Bytes of weights that a result's rounds read: each draft the early layers and the head, each verification all once. */
function bytesRead(model: Model, plan: DecodePlan | undefined, { rounds }: GenerationResult): number {
  const { layer, head } = weightBytes(model);
  const drafted = rounds.reduce((sum, round) => sum + round.drafted, 0);
  return rounds.length * (model.spec.layers * layer + head) + drafted * ((plan?.exitLayer ?? 0) * layer + head);
}

function sameIds(a: GenerationResult, b: GenerationResult): boolean {
  return a.ids.length === b.ids.length && a.ids.every((id, i) => id === b.ids[i]);
}

/** Runs the comparison; `onRepetition` hears of each repetition that is done. */
export async function benchDecode(
  model: Model,
  { prompt, maxTokens, repetitions, plans }: DecodeBenchOptions,
  onRepetition: (done: number) => void = () => {},
): Promise<DecodeRow[]> {
  const ways: (DecodePlan | undefined)[] = [undefined, ...plans];
  const run = (plan: DecodePlan | undefined) =>
    model.generate(prompt, { maxTokens, ...(plan ? { drafter: "layerskip", ...plan } : { drafter: "none" }) }).result();

  // The first run of each way compiles and warms; it is not counted.
  const results: GenerationResult[] = [];
  for (const plan of ways) results.push(await run(plan));

  const plain = results[0]!;
  const idsEqual = results.map((result) => sameIds(result, plain));
  const times: number[][] = ways.map(() => []);
  for (let i = 0; i < repetitions; i++) {
    for (const [way, plan] of ways.entries()) {
      const result = await run(plan);
      times[way]!.push(result.stats.decodeMs);
      idsEqual[way] &&= sameIds(result, plain);
    }
    onRepetition(i + 1);
  }

  return ways.map((plan, way): DecodeRow => {
    const result = results[way]!;
    const { stats, rounds } = result;
    const decoded = Math.max(1, stats.tokens - 1);
    const ratios = times[way]!.map((ms, i) => times[0]![i]! / ms);
    return {
      plan,
      tokens: stats.tokens,
      rounds: rounds.length,
      tokensPerRound: decoded / rounds.length,
      acceptanceRate: stats.acceptanceRate,
      dispatchesPerToken: stats.dispatches / decoded,
      readbackBytesPerRound: stats.readbackBytes / rounds.length,
      weightBytesPerToken: bytesRead(model, plan, result) / decoded,
      msPerToken: median(times[way]!) / decoded,
      speedup: median(ratios),
      speedupRange: [Math.min(...ratios), Math.max(...ratios)],
      speedupByBytes: bytesRead(model, undefined, plain) / bytesRead(model, plan, result),
      idsEqual: idsEqual[way]!,
    };
  });
}
