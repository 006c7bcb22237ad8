/**
 * The self-check of sampling: a few rows of made-up logits through scores, filters and noise, with every option at work,
 * against plain arithmetic on the host. Scores and filters within what f32 rounds; the ids must be the same: the best two of
 * each row are far enough apart for that.
 */

import type { Device } from "../gpu/device.ts";
import { NONE } from "./constants.ts";
import { candidatesShape, SelectTarget } from "./layer_skip.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { philox } from "./philox.ts";
import { chainOf, encodeRanges, encodeRows } from "./rows.ts";
import {
  Adjust,
  BANNED,
  encodeBias,
  encodeSampling,
  FILTER_BYTES,
  Filter,
  Pick,
  type SamplingSettings,
  STREAM,
  scoreGroups,
  scoresShape,
} from "./sampling.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";

/** More than a workgroup takes. */
const IDS = 1500;
const ROWS = 8;
const POSITION = 100;
const SETTINGS: SamplingSettings = {
  temperature: 0.9,
  topK: 400,
  topP: 0.9,
  minP: 0.001,
  typicalP: 0.95,
  repetitionPenalty: 1.2,
  frequencyPenalty: 0.3,
  presencePenalty: 0.2,
  logitBias: new Map([
    [3, 2],
    [5, Number.NEGATIVE_INFINITY],
  ]),
  seed: 0x1234567_89abcd,
};
/** How often ids stand in the new text. */
const COUNTS = new Map([
  [2, 1],
  [7, 3],
]);

/** @throws GpuError when a kernel cannot be compiled or chooses wrong on this device */
export async function checkSampling(device: Device): Promise<void> {
  const kernels = {
    adjust: new Adjust(device),
    filter: new Filter(device),
    pick: new Pick(device),
    select: new SelectTarget(device),
  };
  await Promise.all(Object.values(kernels).map((kernel) => kernel.prepare()));
  const { logits, scores: expectedScores, filters: expectedFilters, ids } = samplingTrial();
  const groups = scoreGroups(IDS);
  const [scores, filters, targets] = await runTrial(
    device,
    "sampling check",
    ({ recorder, storage, scratch, uniform }) => {
      const shared = {
        range: uniform("ranges", encodeRanges([{ first: 0, count: ROWS }])),
        shape: uniform("shape", scoresShape(IDS, STREAM.target, false)),
        samplings: storage("samplings", encodeSampling(SETTINGS, IDS)),
      };
      const rows = storage("rows", encodeRows(tableOfRows()));
      const scores = scratch("scores", ROWS * IDS * 4);
      const peaks = scratch("peaks", ROWS * groups * 4);
      const filters = scratch("filters", ROWS * FILTER_BYTES);
      const candidates = scratch("candidates", ROWS * groups * 8);
      const targets = storage("targets", new Uint32Array(ROWS).fill(NONE));
      const counts = new Uint32Array(IDS);
      for (const [id, count] of COUNTS) counts[id] = count;
      const adjust = kernels.adjust.bind({
        ...{ ...shared, rows, logits: storage("logits", logits), scores, peaks },
        bias: storage("bias", encodeBias(SETTINGS.logitBias, IDS)),
        counts: storage("counts", counts),
      });
      const filter = kernels.filter.bind({ ...shared, scores, peaks, filters, rows });
      const pick = kernels.pick.bind({ ...shared, rows, scores, peaks, filters, candidates });
      const shape = uniform("candidates shape", candidatesShape(groups));
      const select = kernels.select.bind({ range: shared.range, shape, candidates, targets });
      const set = { range: 0, count: ROWS, end: POSITION + ROWS };
      kernels.adjust.dispatch(recorder, adjust, set, IDS);
      kernels.filter.dispatch(recorder, filter, set);
      kernels.pick.dispatch(recorder, pick, set, IDS);
      kernels.select.dispatch(recorder, select, set);
      return [scores, filters, targets];
    },
  );
  const words = FILTER_BYTES / 4;
  const filterFloats = new Float32Array(filters!.buffer);
  const found = Array.from({ length: ROWS }, (_, row) => [
    ...filterFloats.subarray(row * words, row * words + 4),
  ]).flat();
  const banned = (score: number) => (Number.isFinite(score) ? score : BANNED);
  requireRight(
    kernels.adjust.name,
    firstDifference(
      new Float32Array(scores!.buffer),
      expectedScores.flat().map(banned),
      (i) => `row ${Math.floor(i / IDS)}, id ${i % IDS}`,
      expectedScores.flat().map((score) => 1e-5 * Math.abs(banned(score)) + 1e-6),
    ),
  );
  requireRight(
    kernels.filter.name,
    firstDifference(
      found,
      expectedFilters.flat(),
      (i) => `row ${i >> 2}, ${["peak", "farthest", "centre", "spread"][i % 4]}`,
      expectedFilters.flat().map((value) => 1e-4 * (1 + Math.abs(value))),
    ),
  );
  requireRight(
    kernels.pick.name,
    firstDifference(targets!, ids, (row) => `id after row ${row}`),
  );
}

/** A chain of drafts: each row's history is one longer than that of the row before. */
function tableOfRows() {
  return chainOf(
    Array.from({ length: ROWS }, (_, i) => 10 + i),
    POSITION,
  );
}

/** What is tried, and what is right. */
interface SamplingTrial {
  /** `[ROWS][IDS]` */
  logits: Float32Array<ArrayBuffer>;
  scores: number[][];
  /** Peak, farthest distance, centre and spread of each row. */
  filters: number[][];
  ids: number[];
  /** How far the best two of each row are apart. */
  gaps: number[];
}

/** @internal for tests */
export function samplingTrial(): SamplingTrial {
  const random = checkNumbers();
  const logits = Float32Array.from({ length: ROWS * IDS }, () => 5 * random());
  const rows = Array.from({ length: ROWS }, (_, row) => {
    const scores = scoresOf(logits.subarray(row * IDS, (row + 1) * IDS), row);
    const { ids, filter } = filtered(scores);
    const noisy = ids.map((id) => ({ id, rank: scores[id]! + gumbel(id, POSITION + row + 1) }));
    const [best, next] = noisy.sort((a, b) => b.rank - a.rank);
    return { scores, filter, id: best!.id, gap: best!.rank - next!.rank };
  });
  return {
    logits,
    scores: rows.map(({ scores }) => scores),
    filters: rows.map(({ filter }) => filter),
    ids: rows.map(({ id }) => id),
    gaps: rows.map(({ gap }) => gap),
  };
}

function scoresOf(logits: Float32Array, row: number): number[] {
  const { logitBias, repetitionPenalty, frequencyPenalty, presencePenalty, temperature } = SETTINGS;
  const counts = new Map(COUNTS);
  for (let i = 1; i <= row; i++) counts.set(10 + i, (counts.get(10 + i) ?? 0) + 1);
  return [...logits].map((logit, id) => {
    const z = logit + (logitBias.get(id) ?? 0);
    const count = counts.get(id) ?? 0;
    if (count === 0) return z / temperature;
    const repeated = z > 0 ? z / repetitionPenalty : z * repetitionPenalty;
    return (repeated - frequencyPenalty * count - presencePenalty) / temperature;
  });
}

/** Top-k, top-p, min-p and typical-p, one after the other: what they leave, and the numbers that say so. */
function filtered(scores: readonly number[]): { ids: number[]; filter: number[] } {
  const { topK, topP, minP, typicalP } = SETTINGS;
  const peak = Math.max(...scores);
  const byScore = [...scores.keys()].filter((id) => scores[id]! > -1e30).sort((a, b) => scores[b]! - scores[a]!);
  const weight = (id: number) => Math.exp(scores[id]! - peak);
  const nucleus = upTo(byScore.slice(0, topK), weight, topP);
  const likely = nucleus.filter((id) => weight(id) >= minP);
  const distance = (id: number) => peak - scores[id]!;
  const total = likely.reduce((sum, id) => sum + weight(id), 0);
  const centre = likely.reduce((sum, id) => sum + (weight(id) * distance(id)) / total, 0);
  const surprise = (id: number) => Math.abs(distance(id) - centre);
  const ids = upTo(
    [...likely].sort((a, b) => surprise(a) - surprise(b)),
    weight,
    typicalP,
  );
  const farthest = Math.min(distance(nucleus.at(-1)!), Math.log(1 / minP));
  return { ids, filter: [peak, farthest, centre, surprise(ids.at(-1)!)] };
}

/** The first of `ids` that together have the share of their weight. */
function upTo(ids: readonly number[], weight: (id: number) => number, share: number): number[] {
  const limit = share * ids.reduce((sum, id) => sum + weight(id), 0);
  let sum = 0;
  const end = ids.findIndex((id) => {
    sum += weight(id);
    return sum >= limit;
  });
  return ids.slice(0, end + 1);
}

function gumbel(id: number, position: number): number {
  const { seed } = SETTINGS;
  const words = philox([id >>> 2, position, STREAM.target, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
  return -Math.log(-Math.log1p(-(words[id % 4]! + 0.5) / 2 ** 32));
}
