/** Texts to replay: recorded ones, where there are any, and made ones with easy and hard passages. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Random } from "../../../src/decode/controllers/random.ts";
import type { RecordedText } from "./replay.ts";

const RECORDED = join(import.meta.dirname, "../recorded_acceptances.json");
/** Drafts in a row that a recording tells apart. */
const CAP = 15;

export function recordedTexts(): RecordedText[] {
  return (JSON.parse(readFileSync(RECORDED, "utf8")) as { texts: RecordedText[] }).texts;
}

/** From whether each position's draft agrees: how many do in a row from each. */
export function runs(agrees: readonly boolean[]): number[] {
  const result = new Array<number>(agrees.length).fill(0);
  for (let n = agrees.length - 1; n >= 0; n--) result[n] = agrees[n] ? Math.min(CAP, (result[n + 1] ?? 0) + 1) : 0;
  return result;
}

export interface MadeText {
  readonly seed: number;
  readonly layers: number;
  readonly length: number;
  /** Exit layers and the share of their drafts that agree. */
  readonly agreement: Readonly<Record<number, number>>;
}

/** Passages of about 20 tokens, easy or hard (a Markov chain); exits agree where a common difficulty of the position lets them. */
export function makeText({ seed, layers, length, agreement }: MadeText): RecordedText {
  const random = new Random(seed);
  const agrees = new Map(Object.keys(agreement).map((exit) => [exit, [] as boolean[]]));
  let isHard = random.uniform() < 0.5;
  for (let n = 0; n < length; n++) {
    if (random.uniform() < 1 / 20) isHard = !isHard;
    const common = random.uniform();
    for (const [exit, list] of agrees) {
      const difficulty = random.uniform() < 0.7 ? common : random.uniform();
      const share = agreement[Number(exit)]!;
      list.push(difficulty < share + (isHard ? -1 : 1) * 0.6 * Math.min(share, 1 - share));
    }
  }
  return {
    name: `made ${seed} (${layers} layers, ${length} tokens)`,
    layers,
    exits: Object.fromEntries([...agrees].map(([exit, list]) => [exit, runs(list)])),
  };
}

/** Agreement of LayerLeap's default model, as its card says. */
export const SMALL_AGREEMENT = { 1: 0.49, 2: 0.7, 3: 0.78, 4: 0.84 };
/** Of an imagined LayerSkip checkpoint of 30 layers. */
export const DEEP_AGREEMENT = { 4: 0.45, 8: 0.72, 12: 0.8, 20: 0.9 };

export function smallModelText(seed: number): RecordedText {
  return makeText({ seed, layers: 5, length: lengthOf(seed), agreement: SMALL_AGREEMENT });
}

export function deepModelText(seed: number): RecordedText {
  return makeText({ seed, layers: 30, length: lengthOf(seed), agreement: DEEP_AGREEMENT });
}

/** 120 to 400 tokens. */
function lengthOf(seed: number): number {
  return 120 + Math.floor(281 * new Random(seed + 1000).uniform());
}

/** A text whose drafts agree until `until`, and never after. */
export function textGoodUntil(until: number, length: number, layers: number, exits: readonly number[]): RecordedText {
  const agrees = Array.from({ length }, (_, n) => n < until && n % 7 !== 6);
  return { name: `good until ${until}`, layers, exits: Object.fromEntries(exits.map((exit) => [exit, runs(agrees)])) };
}
