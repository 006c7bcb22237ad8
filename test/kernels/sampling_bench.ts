/** Sampling on the GPU from logits of one's choice, for tests: what a generation does behind the head. */

import { NONE, RANGE_BYTES } from "../../src/kernels/constants.ts";
import { candidatesShape, SelectTarget } from "../../src/kernels/layer_skip.ts";
import {
  Adjust,
  encodeBias,
  encodeSampling,
  FILTER_BYTES,
  Filter,
  IN_PROMPT,
  Pick,
  Ratio,
  SAMPLING_BYTES,
  type SamplingSettings,
  STREAM,
  scoreGroups,
  scoresShape,
} from "../../src/kernels/sampling.ts";
import type { Bench } from "./harness.ts";

export const UNCHANGED: SamplingSettings = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: new Map(),
  seed: 0,
};

export interface SampledRows {
  /** Logits of each row, all of one length. */
  rows: readonly ArrayLike<number>[];
  settings?: Partial<SamplingSettings>;
  /** Sampled once for each; default: that of the settings. */
  seeds?: readonly number[];
  /** Position of the first row; the others follow. */
  position?: number;
  prompt?: readonly number[];
  output?: readonly number[];
  /** Tokens of rows 1, 2, ...: drafts in flight, which the later rows continue. */
  drafts?: readonly number[];
  /** Which noise is drawn without a draft's logits. Default: the target's. */
  stream?: number;
  /** Logits of the draft: the ratio rule decides by them. */
  draftRows?: readonly ArrayLike<number>[];
}

export interface Sampled {
  /** For each seed, the id chosen after each row. */
  ids: number[][];
  scores: Float32Array[];
  filters: { peak: number; farthest: number; centre: number; spread: number; mass: number }[];
}

/** Submissions of so many samples: a queue that is not endless. */
const SAMPLES_PER_SUBMISSION = 500;

export async function sampleRows(bench: Bench, request: SampledRows): Promise<Sampled> {
  const { rows, stream = STREAM.target, position = 10, prompt = [], output = [], drafts = [], draftRows } = request;
  const settings = { ...UNCHANGED, ...request.settings };
  const seeds = request.seeds ?? [settings.seed];
  const { device } = bench;
  const vocabSize = rows[0]!.length;
  const groups = scoreGroups(vocabSize);
  const kernels = {
    adjust: new Adjust(device),
    filter: new Filter(device),
    pick: new Pick(device),
    ratio: new Ratio(device),
    select: new SelectTarget(device),
  };
  await Promise.all(Object.values(kernels).map((kernel) => kernel.prepare()));
  const counts = new Uint32Array(vocabSize);
  for (const id of prompt) counts[id] = IN_PROMPT;
  for (const id of output) counts[id]!++;
  const count = rows.length;
  const table = rows.map((_, i) => ({
    token: i === 0 ? 0 : (drafts[i - 1] ?? 0),
    position: position + i,
    parent: i === 0 ? NONE : i - 1,
  }));
  const range = bench.ranges({ first: 0, count });
  const rowTable = bench.rows(table);
  const samplings = bench.upload("samplings", encodeSampling(settings, vocabSize));
  const side = (name: string, logits: readonly ArrayLike<number>[], stream: number) => {
    const shape = bench.uniform(`${name} shape`, scoresShape(vocabSize, stream, true));
    const scores = bench.output(`${name} scores`, count * vocabSize);
    const peaks = bench.output(`${name} peaks`, count * groups);
    const filters = bench.output(`${name} filters`, (count * FILTER_BYTES) / 4);
    const candidates = bench.output(`${name} candidates`, count * groups * 2);
    const flat = Float32Array.from(logits.flatMap((row) => Array.from(row)));
    const shared = { range, shape, samplings };
    const adjust = kernels.adjust.bind({
      ...{ ...shared, rows: rowTable, logits: bench.upload(`${name} logits`, flat), scores, peaks },
      bias: bench.upload("bias", encodeBias(settings.logitBias, vocabSize)),
      counts: bench.upload("counts", counts),
    });
    const filter = kernels.filter.bind({ ...shared, scores, peaks, filters, rows: rowTable });
    const pick = kernels.pick.bind({ ...shared, rows: rowTable, scores, peaks, filters, candidates });
    return { shape, scores, filters, candidates, adjust, filter, pick };
  };
  const target = side("target", rows, stream);
  const draft = draftRows && side("draft", draftRows, STREAM.draft);
  const ratio =
    draft &&
    kernels.ratio.bind({
      ...{ range, shape: target.shape, samplings, rows: rowTable, scores: target.scores, filters: target.filters },
      ...{ draftScores: draft.scores, draftFilters: draft.filters, candidates: target.candidates },
    });
  const targets = bench.output("targets", count);
  const select = kernels.select.bind({
    range,
    shape: bench.uniform("candidates shape", candidatesShape(groups)),
    candidates: target.candidates,
    targets,
  });
  const set = { range: 0, count, end: position + count };
  const perSeed = RANGE_BYTES; // a copy's offsets are multiples of 4; a seed's settings are padded to this

  const ids: number[][] = [];
  const [scoreWords, filterWords] = await bench.run(
    (recorder) => {
      for (const each of draft ? [target, draft] : [target]) {
        kernels.adjust.dispatch(recorder, each.adjust, set, vocabSize);
        kernels.filter.dispatch(recorder, each.filter, set);
      }
    },
    target.scores,
    target.filters,
  );
  for (let start = 0; start < seeds.length; start += SAMPLES_PER_SUBMISSION) {
    const batch = seeds.slice(start, start + SAMPLES_PER_SUBMISSION);
    const words = new Uint32Array((batch.length * perSeed) / 4);
    for (const [i, seed] of batch.entries())
      words.set(encodeSampling({ ...settings, seed }, vocabSize), (i * perSeed) / 4);
    const allSettings = bench.upload("all settings", words);
    const results = bench.output("results", batch.length * count);
    const [chosen] = await bench.run((recorder) => {
      for (const i of batch.keys()) {
        recorder.copy(allSettings, i * perSeed, samplings, 0, SAMPLING_BYTES);
        if (ratio) kernels.ratio.dispatch(recorder, ratio, set, vocabSize);
        else kernels.pick.dispatch(recorder, target.pick, set, vocabSize);
        kernels.select.dispatch(recorder, select, set);
        recorder.copy(targets, 0, results, i * count * 4, count * 4);
      }
    }, results);
    for (const i of batch.keys()) ids.push([...chosen.subarray(i * count, (i + 1) * count)]);
    device.ledger.release(allSettings);
    device.ledger.release(results);
  }
  const scores = new Float32Array(scoreWords.buffer);
  const filterFloats = new Float32Array(filterWords.buffer);
  bench.release();
  return {
    ids,
    scores: rows.map((_, i) => scores.slice(i * vocabSize, (i + 1) * vocabSize)),
    filters: rows.map((_, i) => {
      const at = (i * FILTER_BYTES) / 4;
      return {
        peak: filterFloats[at]!,
        farthest: filterWords[at + 1]!,
        centre: filterFloats[at + 2]!,
        spread: filterWords[at + 3]!,
        mass: filterFloats[at + 4]!,
      };
    }),
  };
}
