/**
 * The kernels that sample (shaders/sampling/): logits -> scores -> what is allowed -> an id, without a logit leaving the GPU.
 *
 * Each works on a *side*, draft or target: which ids it scores, and which noise it draws.
 */

import state from "../../shaders/layer_skip/state.wgsl?raw";
import best from "../../shaders/matmul/best.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import adjust from "../../shaders/sampling/adjust.wgsl?raw";
import confidence from "../../shaders/sampling/confidence.wgsl?raw";
import filter from "../../shaders/sampling/filter.wgsl?raw";
import logProbs from "../../shaders/sampling/log_probs.wgsl?raw";
import noise from "../../shaders/sampling/noise.wgsl?raw";
import pick from "../../shaders/sampling/pick.wgsl?raw";
import ratio from "../../shaders/sampling/ratio.wgsl?raw";
import remember from "../../shaders/sampling/remember.wgsl?raw";
import runs from "../../shaders/sampling/runs.wgsl?raw";
import scores from "../../shaders/sampling/scores.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import {
  COMMON_CONSTANTS,
  FILTER_THREADS,
  IDS_PER_THREAD,
  NONE,
  RANGE_BYTES,
  ROW_CAPACITY,
  STATE_CONSTANTS,
  TOP_CAPACITY,
  WORKGROUP,
} from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { withIds } from "./layer_skip.ts";

/** How scores are made of logits and chosen from, complete and checked. */
export interface SamplingSettings {
  /** 0: the largest score, without noise and filters. */
  temperature: number;
  /** 0: no limit. */
  topK: number;
  /** 1: no limit. */
  topP: number;
  /** 0: no limit. */
  minP: number;
  /** 1: no limit. */
  typicalP: number;
  /** 1: none. */
  repetitionPenalty: number;
  /** 0: none. */
  frequencyPenalty: number;
  /** 0: none. */
  presencePenalty: number;
  /** By id; -Infinity bans it. */
  logitBias: ReadonlyMap<number, number>;
  /** An integer from 0 to 2^53 - 1. */
  seed: number;
}

/** Which noise a side draws (shaders/sampling/noise.wgsl). */
export const STREAM = { target: 0, draft: 1 } as const;

/** What a biased id's score becomes when it is banned. */
export const BANNED = -3e38;
/** An id that stands in the prompt, in `counts`. */
export const IN_PROMPT = 0x80000000;

/** From text to text. */
export const SAMPLING_BYTES = 56;
export const FILTER_BYTES = 32;
export const LOG_PROBS_BYTES = 8 + 8 * TOP_CAPACITY;
const NO_LIMIT = 0xffffffff;

/** Whether the tokens before change a score. */
export function isPenalised({
  repetitionPenalty,
  frequencyPenalty,
  presencePenalty,
}: Readonly<SamplingSettings>): boolean {
  return repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0;
}

/**
 * Contents of a `Sampling`.
 * @param vocabSize ids of the biases and counts of a text
 */
export function encodeSampling(settings: Readonly<SamplingSettings>, vocabSize: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(SAMPLING_BYTES / 4);
  const floats = new Float32Array(words.buffer);
  const { temperature, topK, topP, minP, typicalP, seed } = settings;
  words[0] = seed % 2 ** 32;
  words[1] = Math.floor(seed / 2 ** 32);
  floats.set([temperature, settings.repetitionPenalty, settings.frequencyPenalty, settings.presencePenalty], 2);
  words[6] = topK;
  floats[7] = topP;
  words[8] = minP > 0 ? floatBits(Math.log(1 / minP)) : NO_LIMIT - 1;
  floats[9] = typicalP;
  words[10] = settings.logitBias.size > 0 ? 1 : 0;
  words[11] = isPenalised(settings) ? 1 : 0;
  words[12] = vocabSize;
  return words;
}

/** The biases of a vocabulary, as the kernels read them. */
export function encodeBias(bias: ReadonlyMap<number, number>, vocabSize: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(vocabSize);
  for (const [id, value] of bias) values[id] = Math.max(value, BANNED);
  return values;
}

/** Workgroups that share the scores of a row. */
export function scoreGroups(ids: number): number {
  return groups(ids, WORKGROUP * IDS_PER_THREAD);
}

/** Contents of the `Scores` uniform. */
export function scoresShape(ids: number, stream: number, wantsMass: boolean): Uint32Array<ArrayBuffer> {
  return new Uint32Array([ids, scoreGroups(ids), stream, wantsMass ? 1 : 0]);
}

/** Contents of the `Wanted` uniform. */
export function wantedLogProbs(ids: number, top: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array([ids, top]);
}

/** Contents of the steps of `Confidence`: step i is row i. */
export function confidenceSteps(): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array((ROW_CAPACITY * RANGE_BYTES) / 4);
  for (let i = 0; i < ROW_CAPACITY; i++) words[(i * RANGE_BYTES) / 4] = i;
  return words;
}

/** What a row's logits say of its token. */
export interface RowLogProbs {
  logProb: number;
  /** The most probable ids, the first one first. */
  top: { id: number; logProb: number }[];
}

/** Reads `[rows]` of `LogProbs`. */
export function decodeLogProbs(bytes: ArrayBuffer, rows: number, top: number): RowLogProbs[] {
  return Array.from({ length: rows }, (_, row) => {
    const at = row * LOG_PROBS_BYTES;
    const floats = new Float32Array(bytes, at, LOG_PROBS_BYTES / 4);
    const words = new Uint32Array(bytes, at, LOG_PROBS_BYTES / 4);
    const [logSumExp = 0, logit = 0] = floats;
    return {
      logProb: logit - logSumExp,
      top: Array.from({ length: top }, (_, n) => ({
        id: words[3 + 2 * n]!,
        logProb: floats[2 + 2 * n]! - logSumExp,
      })).filter(({ id }) => id !== NONE),
    };
  });
}

function floatBits(value: number): number {
  return new Uint32Array(new Float32Array([value]).buffer)[0]!;
}

const SIDE = { range: "offset-uniform", shape: "uniform", samplings: "read" } as const;

const ADJUST_BINDINGS = {
  ...SIDE,
  rows: "read",
  logits: "read",
  bias: "read",
  counts: "read",
  scores: "read-write",
  peaks: "read-write",
} as const;
const FILTER_BINDINGS = { ...SIDE, scores: "read", peaks: "read", filters: "read-write", rows: "read" } as const;
const PICK_BINDINGS = {
  ...SIDE,
  rows: "read",
  scores: "read",
  peaks: "read",
  filters: "read",
  candidates: "read-write",
} as const;
const RATIO_BINDINGS = {
  ...SIDE,
  rows: "read",
  scores: "read",
  filters: "read",
  draftScores: "read",
  draftFilters: "read",
  candidates: "read-write",
} as const;
const CONFIDENCE_BINDINGS = {
  step: "offset-uniform",
  shape: "uniform",
  settings: "uniform",
  rows: "read",
  scores: "read",
  filters: "read",
  ranges: "read-write",
  probabilities: "read-write",
} as const;
const LOG_PROBS_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  logits: "read",
  targets: "read",
  logProbs: "read-write",
} as const;
const REMEMBER_BINDINGS = { report: "read", counts: "read-write", settings: "uniform" } as const;

const SCORE_CONSTANTS = { ...COMMON_CONSTANTS, IDS_PER_THREAD } as const;

/** Makes scores of logits. */
export class Adjust extends Kernel {
  /** @param hot logits are those of a table of ids, here and below */
  constructor(device: Device, hot = false) {
    const ids = withIds(ADJUST_BINDINGS, hot);
    const source = { name: `sampling/adjust${hot ? "_hot" : ""}`, code: [rows, scores, ids.code, adjust] };
    super(device, { ...source, bindings: ids.bindings }, { ...SCORE_CONSTANTS, ...ids.constants });
  }

  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, ids: number): void {
    this.record(recorder, group, rows.range, [scoreGroups(ids), rows.count]);
  }
}

/** Tells what a row may choose from. */
export class Filter extends Kernel<keyof typeof FILTER_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, scores, filter];
    // A software adapter runs a workgroup's threads one after the other, and every barrier stops each of them.
    const constants = { ...COMMON_CONSTANTS, THREADS: device.info.software ? WORKGROUP : FILTER_THREADS };
    super(device, { name: "sampling/filter", code, bindings: FILTER_BINDINGS }, constants);
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}

/** Chooses by score and noise, first stage. */
export class Pick extends Kernel {
  constructor(device: Device, hot = false) {
    const ids = withIds(PICK_BINDINGS, hot);
    const source = {
      name: `sampling/pick${hot ? "_hot" : ""}`,
      code: [rows, scores, ids.code, noise, best, runs, pick],
    };
    super(device, { ...source, bindings: ids.bindings }, { ...SCORE_CONSTANTS, ...ids.constants });
  }

  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, ids: number): void {
    this.record(recorder, group, rows.range, [scoreGroups(ids), rows.count]);
  }
}

/** Accepts or resamples by the ratio of probabilities, first stage. */
export class Ratio extends Kernel<keyof typeof RATIO_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, scores, noise, best, runs, ratio];
    super(device, { name: "sampling/ratio", code, bindings: RATIO_BINDINGS }, SCORE_CONSTANTS);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet, ids: number): void {
    this.record(recorder, group, rows.range, [scoreGroups(ids), rows.count]);
  }
}

/** Tells how sure a draft is, and ends the round's drafts where it is not. */
export class Confidence extends Kernel {
  constructor(device: Device, hot = false) {
    const ids = withIds(CONFIDENCE_BINDINGS, hot);
    const source = {
      name: `sampling/confidence${hot ? "_hot" : ""}`,
      code: [rows, state, scores, ids.code, confidence],
    };
    super(device, { ...source, bindings: ids.bindings }, { ...STATE_CONSTANTS, ...ids.constants });
  }

  /** @param step the draft's number, which is its row's */
  dispatch(recorder: Recorder, group: GPUBindGroup, step: number): void {
    this.record(recorder, group, step, [1]);
  }
}

/** Log probabilities of the targets, and of the most probable ids. */
export class LogProbs extends Kernel<keyof typeof LOG_PROBS_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, best, logProbs];
    const constants = { ...COMMON_CONSTANTS, THREADS: device.info.software ? WORKGROUP : FILTER_THREADS, TOP_CAPACITY };
    super(device, { name: "sampling/log_probs", code, bindings: LOG_PROBS_BINDINGS }, constants);
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}

/** Adds what a round emitted to the history that penalties see. */
export class Remember extends Kernel<keyof typeof REMEMBER_BINDINGS> {
  constructor(device: Device) {
    const bindings = REMEMBER_BINDINGS;
    super(device, { name: "sampling/remember", code: [state, remember], bindings }, STATE_CONSTANTS);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}
