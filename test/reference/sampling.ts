/**
 * Sampling of a token from logits, in float64: penalties, temperature, filters, the noise, and the rule by which drafts are
 * accepted.
 *
 * A token is drawn by the Gumbel-max trick: with independent Gumbel noise added, the largest score is at id i with the
 * probability softmax(scores)[i] (Gumbel 1954; Maddison et al. 2014, "A* Sampling"). The noise is a function of the seed, the
 * position, the stream and the id, so a token does not depend on how many were drawn before it.
 */

import { argmax, type Floats, softmax } from "./ops.ts";
import { philox } from "./philox.ts";

/** What is left out has no effect. */
export interface SamplingSettings {
  /** Added to the logits of these ids. */
  logitBias?: ReadonlyMap<number, number>;
  /** r: logits of ids of prompt and output are divided by it where positive, else multiplied. 1 has no effect. */
  repetitionPenalty?: number;
  /** Subtracted once for each time that an id is in the output. */
  frequencyPenalty?: number;
  /** Subtracted where an id is in the output. */
  presencePenalty?: number;
  /** Divides the logits. 0 is greedy: the filters have no effect. */
  temperature?: number;
  /** Keeps the k largest scores. 0 has no effect. */
  topK?: number;
  /** Keeps the most probable ids that have this mass together. 1 has no effect. */
  topP?: number;
  /** Keeps ids with this share of the largest probability. 0 has no effect. */
  minP?: number;
  /** Keeps the ids closest to the entropy that have this mass together. 1 has no effect. */
  typicalP?: number;
}

/** The ids before the position that is sampled. */
export interface History {
  prompt: readonly number[];
  output: readonly number[];
}

export interface Processed {
  /** Scores of all ids, `[V]`, filtered out or not. */
  scores: Float64Array;
  /** The ids that may be drawn, ascending; at least one. */
  allowed: readonly number[];
}

/** 64 bits: the lower word, then the upper. */
export type Seed = readonly [lo: number, hi: number];

/** `logits: [V]` -> scores and the ids that may be drawn. Each filter works on what the one before left. */
export function processScores(logits: Floats, settings: SamplingSettings, history: History): Processed {
  const { temperature = 1, topK = 0, topP = 1, minP = 0, typicalP = 1 } = settings;
  const penalised = penalise(logits, settings, history);
  if (temperature === 0) return { scores: penalised, allowed: [argmax(penalised)] };

  const scores = penalised.map((z) => z / temperature);
  let allowed = Array.from(scores.keys());
  if (topK > 0) allowed = filterTopK(scores, allowed, topK);
  if (topP < 1) allowed = filterTopP(scores, allowed, topP);
  if (minP > 0) allowed = filterMinP(scores, allowed, minP);
  if (typicalP < 1) allowed = filterTypicalP(scores, allowed, typicalP);
  return { scores, allowed };
}

/**
 * Bias, then penalties. `logits: [V]` -> `[V]`.
 *
 * Sources: repetition of Keskar et al. 2019, "CTRL", section 4.1, with the multiplication of Hugging Face for negative
 * logits; frequency and presence of OpenAI's API reference.
 */
function penalise(logits: Floats, settings: SamplingSettings, { prompt, output }: History): Float64Array {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0 } = settings;
  const z = Float64Array.from(logits);
  for (const [id, bias] of settings.logitBias ?? []) z[id] = z[id]! + bias;

  for (const id of new Set([...prompt, ...output])) {
    z[id] = z[id]! > 0 ? z[id]! / repetitionPenalty : z[id]! * repetitionPenalty;
  }
  const counts = new Map<number, number>();
  for (const id of output) counts.set(id, (counts.get(id) ?? 0) + 1);
  for (const [id, count] of counts) z[id] = z[id]! - frequencyPenalty * count - presencePenalty;
  return z;
}

/** Every id whose score is at least the k-th largest: more than k where that one is tied. */
function filterTopK(scores: Float64Array, allowed: number[], k: number): number[] {
  const descending = allowed.map((id) => scores[id]!).sort((a, b) => b - a);
  const least = descending[k - 1] ?? -Infinity;
  return allowed.filter((id) => scores[id]! >= least);
}

/**
 * The ids whose score is at least t, for the largest t that leaves them the mass p.
 * Source: Holtzman et al. 2019, "The Curious Case of Neural Text Degeneration" (nucleus sampling).
 */
function filterTopP(scores: Float64Array, allowed: number[], p: number): number[] {
  const probability = probabilities(scores, allowed);
  const cost = scores.map((score) => -score);
  return leastSet(allowed, cost, probability, p);
}

/**
 * The ids whose probability is at least `minP` times the largest.
 * Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs".
 */
function filterMinP(scores: Float64Array, allowed: number[], minP: number): number[] {
  const probability = probabilities(scores, allowed);
  const largest = probability.reduce((max, p) => Math.max(max, p));
  return allowed.filter((id) => probability[id]! >= minP * largest);
}

/**
 * The ids whose surprisal -log p is closest to its mean, the entropy H, until they have the mass p.
 * Source: Meister et al. 2022, "Locally Typical Sampling", as Hugging Face's `TypicalLogitsWarper`.
 */
function filterTypicalP(scores: Float64Array, allowed: number[], p: number): number[] {
  const probability = probabilities(scores, allowed);
  const surprisal = probability.map((p) => -Math.log(p));
  let entropy = 0;
  for (const id of allowed) if (probability[id]! > 0) entropy += probability[id]! * surprisal[id]!;
  const cost = surprisal.map((s) => Math.abs(s - entropy));
  return leastSet(allowed, cost, probability, p);
}

/** The ids of least cost that have at least `mass` together, and those tied with the last of them. */
function leastSet(allowed: number[], cost: Float64Array, probability: Float64Array, mass: number): number[] {
  let sum = 0;
  for (const last of allowed.toSorted((a, b) => cost[a]! - cost[b]!)) {
    sum += probability[last]!;
    if (sum >= mass) return allowed.filter((id) => cost[id]! <= cost[last]!);
  }
  return allowed; // rounding kept the sum short of the mass
}

/** Softmax over the ids allowed; 0 for the others. `scores: [V]` -> `[V]`. */
export function probabilities(scores: Floats, allowed: readonly number[]): Float64Array {
  const shares = softmax(Float64Array.from(allowed, (id) => scores[id]!));
  const out = new Float64Array(scores.length);
  for (const [i, id] of allowed.entries()) out[id] = shares[i]!;
  return out;
}

/** The id drawn at position n: argmax of score + noise over the ids allowed, ascending; the lowest id of a tie. */
export function sample(
  scores: Floats,
  allowed: readonly number[],
  seed: Seed,
  position: number,
  stream: number,
): number {
  let best = allowed[0]!;
  let bestScore = -Infinity;
  for (const id of allowed) {
    const noisy = scores[id]! + gumbel(id, seed, position, stream);
    if (noisy > bestScore) [best, bestScore] = [id, noisy];
  }
  return best;
}

/** Gumbel noise: -log of an exponential variable, which is -log of a uniform one. */
export function gumbel(id: number, seed: Seed, position: number, stream: number): number {
  const exponential = -Math.log(1 - uniform(id, seed, position, stream));
  return -Math.log(exponential);
}

/**
 * Uniform in (0, 1), both excluded: a word of 32 bits, at the middle of its interval. Philox makes the words of four
 * neighbouring ids at once.
 */
export function uniform(id: number, seed: Seed, position: number, stream: number): number {
  const words = philox([id >>> 2, position, stream, 0], seed);
  return (words[id & 3]! + 0.5) / 2 ** 32;
}

export interface Verdict {
  /** min(1, p(x) / q(x)). */
  probability: number;
  /** Whether the draft x is kept: `u < probability`. */
  accepted: boolean;
  /** `[V]`: what the token is drawn from where x is not kept; p itself where p and q are equal and x always is. */
  residual: Float64Array;
}

/**
 * Keeps or rejects the draft x, drawn from q, so that x where it is kept and else a token of the residual is distributed
 * as p. `p: [V]` are the full model's probabilities, `q: [V]` the draft's, u is uniform in [0, 1).
 *
 * Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", section 2.3.
 */
export function ratioRule(p: Floats, q: Floats, x: number, u: number): Verdict {
  if (!(q[x]! > 0)) throw new RangeError(`ratioRule: draft ${x} has probability ${q[x]} where it was drawn`);
  const probability = Math.min(1, p[x]! / q[x]!);
  const excess = Float64Array.from(p, (pi, i) => Math.max(pi - q[i]!, 0));
  const total = excess.reduce((sum, e) => sum + e, 0);
  const residual = total > 0 ? excess.map((e) => e / total) : Float64Array.from(p);
  return { probability, accepted: u < probability, residual };
}
