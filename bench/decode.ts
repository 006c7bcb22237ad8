/**
 * How much drafting gains: plain decoding, fixed plans and controllers on the same prompt, run in turn.
 *
 * Every repetition runs plain decoding and then each other way, and a way's speed-up is the median of its ratios to the plain
 * run of the same repetition: what else the machine does falls on both. The counts (tokens a round, dispatches, bytes of
 * weights) do not depend on the machine; they say what a GPU, which is bound by bytes and launches, would gain.
 */

import type { DraftModel, Dtype, GenerateOptions, GenerationResult, Model, Round } from "../src/index.ts";
import { median } from "./kernels/statistics.ts";

/** A way of decoding. */
export interface DecodeWay {
  name: string;
  drafting: Pick<GenerateOptions, "drafter" | "exitLayer" | "draftLength" | "controller" | "hotVocabulary">;
}

/** What all others are compared with. */
export const PLAIN: DecodeWay = { name: "plain", drafting: { drafter: "none" } };

export interface DecodeBenchOptions {
  prompt: string;
  /** At least 2: the first token is the prefill's. */
  maxTokens: number;
  repetitions: number;
  /** Beside plain decoding. */
  ways: readonly DecodeWay[];
  /** How tokens are chosen, with a seed where there is noise. Default: greedily. */
  sampling?: Pick<GenerateOptions, "temperature" | "seed">;
}

/** What one way of decoding did. */
export interface DecodeRow {
  name: string;
  isPlain: boolean;
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
function weightBytes({ spec, dtype }: Pick<Model, "spec" | "dtype">, stored: number): { layer: number; head: number } {
  const bytes = dtype === "stored" ? { layer: stored, head: stored } : ELEMENT_BYTES[dtype];
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim, vocabSize } = spec;
  const attention = hiddenSize * (heads + 2 * kvHeads) * headDim + heads * headDim * hiddenSize;
  return {
    layer: bytes.layer * (attention + 3 * hiddenSize * intermediateSize) + 4 * 2 * hiddenSize,
    head: bytes.head * vocabSize * hiddenSize,
  };
}

/** Rows that one pass over the weights verifies at most. */
const ROWS_A_PASS = 16;

/** Who drafts, where it is not the model's first layers with its whole head. */
interface ReadingOptions {
  hotVocabulary?: number | undefined;
  draftModel?: DraftModel | undefined;
}

/**
 * Bytes of weights that rounds read: each draft of the first layers these, an exit adapter and its head, each of a second model all of that, and
 * each verification all once for every 16 rows.
 */
export function bytesRead(
  model: Model,
  rounds: readonly Round[],
  { hotVocabulary, draftModel }: ReadingOptions = {},
): number {
  const stored = model.weightBytes / model.parameters;
  const { layer, head } = weightBytes(model, stored);
  const { layers, vocabSize } = model.spec;
  const draftHead = hotVocabulary ? head * Math.min(1, hotVocabulary / vocabSize) : head;
  const second = draftModel && weightBytes(draftModel, stored);
  const modelStep = second ? draftModel.spec.layers * second.layer + second.head : 0;
  const { hotIds = vocabSize, bytes: ofAdapter = 0 } = model.exitAdapter ?? {};
  return rounds.reduce((sum, { drafter, drafted, exitLayer, draftLength, treeSize }) => {
    const chain = Math.min(drafted, draftLength);
    const behindExit = drafter === "adapter" ? ofAdapter + (draftHead * hotIds) / vocabSize : draftHead;
    const drafts = drafter === "model" ? (chain + 1) * modelStep : chain * (exitLayer * layer + behindExit);
    const passes = Math.ceil((1 + draftLength + treeSize) / ROWS_A_PASS);
    return sum + drafts + passes * (layers * layer + head);
  }, 0);
}

function sameIds(a: GenerationResult, b: GenerationResult): boolean {
  return a.ids.length === b.ids.length && a.ids.every((id, i) => id === b.ids[i]);
}

/** Runs the comparison; `onRepetition` hears of each repetition that is done. */
export async function benchDecode(
  model: Model,
  { prompt, maxTokens, repetitions, ways: others, sampling = {} }: DecodeBenchOptions,
  onRepetition: (done: number) => void = () => {},
): Promise<DecodeRow[]> {
  const ways = [PLAIN, ...others];
  const run = ({ drafting }: DecodeWay) => model.generate(prompt, { maxTokens, ...sampling, ...drafting }).result();

  // The first run of each way compiles and warms; it is not counted.
  const results: GenerationResult[] = [];
  for (const way of ways) results.push(await run(way));

  const plain = results[0]!;
  const idsEqual = results.map((result) => sameIds(result, plain));
  const times: number[][] = ways.map(() => []);
  for (let i = 0; i < repetitions; i++) {
    for (const [w, way] of ways.entries()) {
      const result = await run(way);
      times[w]!.push(result.stats.decodeMs);
      idsEqual[w] &&= sameIds(result, plain);
      results[w] = result; // of controllers that learn, the last
    }
    onRepetition(i + 1);
  }

  return ways.map(({ name, drafting }, way): DecodeRow => {
    const { stats, rounds } = results[way]!;
    const decoded = Math.max(1, stats.tokens - 1);
    const ratios = times[way]!.map((ms, i) => times[0]![i]! / ms);
    const bytes = bytesRead(model, rounds, { hotVocabulary: drafting.hotVocabulary });
    return {
      name,
      isPlain: way === 0,
      tokens: stats.tokens,
      rounds: rounds.length,
      tokensPerRound: decoded / rounds.length,
      acceptanceRate: stats.acceptanceRate,
      dispatchesPerToken: stats.dispatches / decoded,
      readbackBytesPerRound: stats.readbackBytes / rounds.length,
      weightBytesPerToken: bytes / decoded,
      msPerToken: median(times[way]!) / decoded,
      speedup: median(ratios),
      speedupRange: [Math.min(...ratios), Math.max(...ratios)],
      speedupByBytes: bytesRead(model, plain.rounds) / bytes,
      idsEqual: idsEqual[way]!,
    };
  });
}
