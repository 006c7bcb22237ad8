/**
 * The kernels that make a round: plan, select a draft, select the targets, accept (shaders/layer_skip/).
 *
 * They are the only ones that know of a generation's state. Its layout is in shaders/layer_skip/state.wgsl.
 */

import accept from "../../shaders/layer_skip/accept.wgsl?raw";
import mergeCandidates from "../../shaders/layer_skip/merge_candidates.wgsl?raw";
import plan from "../../shaders/layer_skip/plan.wgsl?raw";
import selectDraft from "../../shaders/layer_skip/select_draft.wgsl?raw";
import selectTarget from "../../shaders/layer_skip/select_target.wgsl?raw";
import state from "../../shaders/layer_skip/state.wgsl?raw";
import best from "../../shaders/matmul/best.wgsl?raw";
import pages from "../../shaders/rows/pages.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import idsAll from "../../shaders/sampling/ids_all.wgsl?raw";
import idsHot from "../../shaders/sampling/ids_hot.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Constants, KernelSource } from "../gpu/pipelines.ts";
import {
  COMMON_CONSTANTS,
  EOS_CAPACITY,
  FAILED,
  LANES,
  NONE,
  ROW_CAPACITY,
  RUNNING,
  STATE_CONSTANTS,
} from "./constants.ts";
import { Kernel, type RowSet } from "./kernel.ts";

const PLAN_BINDINGS = {
  batch: "uniform",
  settings: "read",
  states: "read",
  rows: "read-write",
  ranges: "read-write",
  pages: "read",
} as const;

const SELECT_DRAFT_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  candidates: "read",
  rows: "read-write",
} as const;

const SELECT_TARGET_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  candidates: "read",
  targets: "read-write",
} as const;

const ACCEPT_BINDINGS = {
  range: "offset-uniform",
  settings: "uniform",
  rows: "read",
  targets: "read",
  state: "read-write",
  report: "read-write",
  path: "read-write",
  history: "read-write",
  pages: "read",
} as const;

/** Bytes of `State`. */
export const STATE_BYTES = 16;
/** Where `Settings.eosIds` begins, in words: arrays of vec4u begin at multiples of 16 bytes. */
const EOS_IDS_WORD = 8;
/** Bytes of `Batch`. */
export const BATCH_BYTES = 16 + LANES * 4;
/** Bytes of `Settings`. */
export const SETTINGS_BYTES = 32 + EOS_CAPACITY * 4;
const REPORT_HEAD_WORDS = 5;
const REPORT_LINE_WORDS = 4;
/** Bytes of `Report`. */
export const REPORT_BYTES = reportBytes(ROW_CAPACITY);
/** Bytes of `Path`. */
export const PATH_BYTES = (1 + 2 * ROW_CAPACITY) * 4;

/** Contents of a `Path`: what stands in `slots[k]` goes to `places[k]`, at most `ROW_CAPACITY` of them. */
export function encodePath(slots: readonly number[], places: readonly number[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(PATH_BYTES / 4);
  words[0] = slots.length;
  words.set(slots, 1);
  words.set(places, 1 + ROW_CAPACITY);
  return words;
}

/** Bytes that tell of a round of at most so many rows: all that it reads back. */
export function reportBytes(rows: number): number {
  return (REPORT_HEAD_WORDS + REPORT_LINE_WORDS * rows) * 4;
}

/** Contents of the `Batch` uniform: the lanes of a round, and entries of the page table a lane. */
export function encodeBatch(lanes: readonly number[], lanePages: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(BATCH_BYTES / 4);
  words.set([lanes.length, lanePages, 0, 0, ...lanes]);
  return words;
}

/** Contents of `State` when a generation begins: `length` tokens committed, mostly none emitted. */
export function initialState(length = 0, pending = NONE, emitted = 0): Uint32Array<ArrayBuffer> {
  return new Uint32Array([length, pending, emitted, RUNNING]);
}

/** What a generation asks of its rounds. */
export interface RoundSettings {
  /** Drafts of layers, one behind the other. */
  draftLength: number;
  /** Rows that a drafter's proposal may add to them. Default: 0. */
  treeSize?: number;
  /** Ids that a proposal may have: those below. Default: 0. */
  vocabSize?: number;
  /** The lane of the text. Default: 0. */
  lane?: number;
  maxTokens: number;
  contextLength: number;
  /** At most `EOS_CAPACITY`. */
  eosTokenIds: readonly number[];
  /** Drafting stops behind a draft that is less probable, in rounds that compute probabilities. Default: 0, never. */
  leastProbability?: number;
}

/** Contents of the `Settings` uniform. */
export function encodeSettings(settings: RoundSettings): Uint32Array<ArrayBuffer> {
  const { draftLength, maxTokens, contextLength, eosTokenIds, leastProbability = 0 } = settings;
  const { treeSize = 0, vocabSize = 0, lane = 0 } = settings;
  const words = new Uint32Array(SETTINGS_BYTES / 4);
  words.set([draftLength, maxTokens, contextLength, eosTokenIds.length]);
  new Float32Array(words.buffer)[4] = leastProbability;
  words.set([treeSize, vocabSize, lane], 5);
  words.set(eosTokenIds, EOS_IDS_WORD);
  return words;
}

/** What a round did. */
export interface Report {
  drafted: number;
  accepted: number;
  /** RUNNING, STOPPED, LENGTH_REACHED or FAILED. */
  finished: number;
  /** Committed tokens after the round. */
  length: number;
  /** The ids it emitted: accepted drafts, then the correction or bonus. */
  ids: number[];
  /** The row that chose each of them: 0 continues the committed sequence, i is the i-th draft. */
  path: number[];
  /** All ids it drafted, those of rows 1, 2, .... */
  draftIds: number[];
  /** The row that each of them continues. In a chain, its own number in `draftIds`. */
  draftParents: number[];
}

/** Reads a `Report`. */
export function decodeReport(bytes: ArrayBuffer): Report {
  const words = new Uint32Array(bytes);
  const [drafted = 0, accepted = 0, emitted = 0, finished = FAILED, length = 0] = words;
  /** Word `k` of the first lines. */
  const column = (k: number, count: number) =>
    Array.from({ length: count }, (_, i) => words[REPORT_HEAD_WORDS + i * REPORT_LINE_WORDS + k]!);
  return {
    ...{ drafted, accepted, finished, length },
    ids: column(0, emitted),
    path: column(1, emitted),
    draftIds: column(2, drafted),
    draftParents: column(3, drafted),
  };
}

/** Contents of the `CandidatesShape` uniform. */
export function candidatesShape(candidatesPerRow: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array([candidatesPerRow]);
}

/** Opens a round: draft length, rows and ranges. */
export class Plan extends Kernel<keyof typeof PLAN_BINDINGS> {
  constructor(device: Device) {
    super(
      device,
      { name: "layer_skip/plan", code: [rows, pages, state, plan], bindings: PLAN_BINDINGS },
      STATE_CONSTANTS,
    );
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}

/** A kernel's pieces, bindings and constants with those of the ids that it works on: all, or those of a table. */
export function withIds(
  bindings: KernelSource["bindings"],
  hot: boolean,
): { code: string; bindings: KernelSource["bindings"]; constants: Constants } {
  return hot
    ? {
        code: idsHot,
        bindings: { ...bindings, hotIds: "read" as const },
        constants: { HOT_BINDING: Object.keys(bindings).length },
      }
    : { code: idsAll, bindings, constants: {} };
}

/** Makes the best id of a draft row the token of the next row. */
export class SelectDraft extends Kernel {
  /** @param hot candidates are places in a table of ids */
  constructor(device: Device, hot = false) {
    const ids = withIds(SELECT_DRAFT_BINDINGS, hot);
    const name = hot ? "layer_skip/select_hot_draft" : "layer_skip/select_draft";
    const code = [rows, best, mergeCandidates, ids.code, selectDraft];
    super(device, { name, code, bindings: ids.bindings }, { ...COMMON_CONSTANTS, ...ids.constants });
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}

/** Chooses the full model's id after each row. */
export class SelectTarget extends Kernel<keyof typeof SELECT_TARGET_BINDINGS> {
  constructor(device: Device) {
    super(
      device,
      {
        name: "layer_skip/select_target",
        code: [rows, best, mergeCandidates, selectTarget],
        bindings: SELECT_TARGET_BINDINGS,
      },
      COMMON_CONSTANTS,
    );
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}

/** Accepts, emits, commits and reports. */
export class Accept extends Kernel<keyof typeof ACCEPT_BINDINGS> {
  constructor(device: Device) {
    super(
      device,
      { name: "layer_skip/accept", code: [rows, pages, state, accept], bindings: ACCEPT_BINDINGS },
      STATE_CONSTANTS,
    );
  }

  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [1]);
  }
}
