/**
 * Texts at a time against one after the other: the same texts, in turn, and the median of the ratios.
 *
 * What it saves does not depend on the machine: submissions, each of which reads the layers' weights once for up to 8 rows.
 */

import type { GenerateOptions, GenerationResult, Model } from "../src/index.ts";
import { median } from "./kernels/statistics.ts";

/** A drafting to be compared. */
export interface SeveralWay {
  name: string;
  drafting: GenerateOptions;
}

export interface SeveralRow {
  way: string;
  /** Texts at a time. */
  texts: number;
  /** New tokens of all of them. */
  tokens: number;
  /** Rounds of all of them, and submissions that they took at once. */
  rounds: number;
  submits: number;
  /** Median of the times one after the other over those at once, and the extremes. */
  speedup: number;
  speedupRange: [number, number];
  /** Milliseconds a token at once: of all texts together. */
  msPerToken: number;
  /** Whether each text was the same both ways. */
  idsEqual: boolean;
}

export interface SeveralOptions {
  texts: readonly number[];
  ways: readonly SeveralWay[];
  /** New tokens a text. */
  maxTokens: number;
  repetitions: number;
}

/** Prompts that differ from their second token on. */
function promptOf(model: Model, i: number): number[] {
  const ids = model.tokenize("Once upon a time there was");
  return [...ids, (17 * i + 400) % model.spec.vocabSize, ...ids.slice(1)];
}

/** Runs the comparison; `onDone` hears of each row. */
export async function benchSeveral(
  model: Model,
  { texts, ways, maxTokens, repetitions }: SeveralOptions,
  onDone: (row: SeveralRow) => void | Promise<void> = () => {},
): Promise<SeveralRow[]> {
  const rows: SeveralRow[] = [];
  for (const { name, drafting } of ways) {
    for (const count of texts) {
      const run = (i: number) =>
        model.generate(promptOf(model, i), { ...drafting, maxTokens, ignoreEos: true }).result();
      const oneByOne = async () => {
        const results: GenerationResult[] = [];
        for (let i = 0; i < count; i++) results.push(await run(i));
        return results;
      };
      const atOnce = () => Promise.all(Array.from({ length: count }, (_, i) => run(i)));
      const timed = async (work: () => Promise<GenerationResult[]>) => {
        const begun = performance.now();
        return { results: await work(), ms: performance.now() - begun };
      };
      await atOnce(); // compiles, and leaves the prompts in the cache for both
      const ratios: number[] = [];
      const times: number[] = [];
      let idsEqual = true;
      let results: GenerationResult[] = [];
      for (let repetition = 0; repetition < repetitions; repetition++) {
        const alone = await timed(oneByOne);
        const together = await timed(atOnce);
        ratios.push(alone.ms / together.ms);
        times.push(together.ms);
        results = together.results;
        idsEqual &&= results.every(({ ids }, i) => ids.join() === alone.results[i]!.ids.join());
      }
      const tokens = results.reduce((sum, { ids }) => sum + ids.length, 0);
      const row: SeveralRow = {
        ...{ way: name, texts: count, tokens, idsEqual },
        rounds: results.reduce((sum, each) => sum + each.rounds.length, 0),
        submits: Math.max(...results.map(({ stats }) => stats.submits)),
        speedup: median(ratios),
        speedupRange: [Math.min(...ratios), Math.max(...ratios)],
        msPerToken: median(times) / tokens,
      };
      rows.push(row);
      await onDone(row);
    }
  }
  return rows;
}
