/** The kernels of drafts that are trees: what is proposed becomes rows, what is accepted moves into place (shaders/drafting/). */

import branch from "../../shaders/drafting/branch.wgsl?raw";
import catchUp from "../../shaders/drafting/catch_up.wgsl?raw";
import commit from "../../shaders/drafting/commit.wgsl?raw";
import exitTops from "../../shaders/drafting/exit_tops.wgsl?raw";
import follow from "../../shaders/drafting/follow.wgsl?raw";
import graft from "../../shaders/drafting/graft.wgsl?raw";
import lookup from "../../shaders/drafting/lookup.wgsl?raw";
import proposal from "../../shaders/drafting/proposal.wgsl?raw";
import recycle from "../../shaders/drafting/recycle.wgsl?raw";
import topFew from "../../shaders/drafting/top_few.wgsl?raw";
import topIds from "../../shaders/drafting/top_ids.wgsl?raw";
import state from "../../shaders/layer_skip/state.wgsl?raw";
import best from "../../shaders/matmul/best.wgsl?raw";
import pages from "../../shaders/rows/pages.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import noise from "../../shaders/sampling/noise.wgsl?raw";
import runs from "../../shaders/sampling/runs.wgsl?raw";
import scores from "../../shaders/sampling/scores.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import {
  COMMON_CONSTANTS,
  FILTER_THREADS,
  FOLLOWERS,
  IDS_PER_THREAD,
  LONGEST_MATCH,
  MATCHES,
  NONE,
  PROPOSAL_CAPACITY,
  PROPOSED,
  STATE_CONSTANTS,
  WORKGROUP,
} from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { withIds } from "./layer_skip.ts";

/** Constants of the kernels that read or write a proposal. */
export const PROPOSAL_CONSTANTS = { ...STATE_CONSTANTS, PROPOSAL_CAPACITY, PROPOSED } as const;

/** Bytes of `Proposal`. */
export const PROPOSAL_BYTES = (2 + 2 * PROPOSAL_CAPACITY) * 4;

/** A node of a tree of drafts. */
export interface ProposedNode {
  token: number;
  /** The number of the node before it that it continues; -1: the pending token. */
  parent: number;
}

/** Contents of a `Proposal`, of its first `PROPOSAL_CAPACITY` nodes. The GPU drops what can be no row. */
export function encodeProposal(nodes: readonly ProposedNode[]): Uint32Array<ArrayBuffer> {
  const kept = nodes.slice(0, PROPOSAL_CAPACITY);
  const words = new Uint32Array(2 + 2 * kept.length);
  words[0] = kept.length;
  for (const [i, { token, parent }] of kept.entries()) {
    const continued =
      parent === -1 ? 0 : PROPOSED + (isWord(parent) ? Math.min(parent, PROPOSAL_CAPACITY) : PROPOSAL_CAPACITY);
    words.set([isWord(token) ? token : NONE, continued], 2 + 2 * i);
  }
  return words;
}

function isWord(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= NONE;
}

const GRAFT_BINDINGS = {
  settings: "uniform",
  state: "read",
  proposal: "read",
  rows: "read-write",
  ranges: "read-write",
  pages: "read",
} as const;

/** Makes rows of what is proposed. */
export class Graft extends Kernel<keyof typeof GRAFT_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, pages, state, proposal, graft];
    super(device, { name: "drafting/graft", code, bindings: GRAFT_BINDINGS }, PROPOSAL_CONSTANTS);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}

const COMMIT_BINDINGS = { shape: "uniform", path: "read", keys: "read-write", values: "read-write" } as const;

/** Moves keys and values of an accepted path into place, of one layer. */
export class Commit extends Kernel<keyof typeof COMMIT_BINDINGS> {
  constructor(device: Device) {
    const code = [state, commit];
    super(device, { name: "drafting/commit", code, bindings: COMMIT_BINDINGS }, STATE_CONSTANTS);
  }

  /** @param vectors of 16 bytes that a slot's keys are */
  dispatch(recorder: Recorder, group: GPUBindGroup, vectors: number): void {
    this.record(recorder, group, undefined, [groups(vectors, WORKGROUP)]);
  }
}

const LOOKUP_BINDINGS = { settings: "uniform", state: "read", history: "read", proposal: "read-write" } as const;

/** Proposes what followed the text's last tokens where they stood before. */
export class Lookup extends Kernel<keyof typeof LOOKUP_BINDINGS> {
  constructor(device: Device) {
    const code = [state, proposal, lookup];
    const constants = { ...PROPOSAL_CONSTANTS, MATCHES, LONGEST_MATCH };
    super(device, { name: "drafting/lookup", code, bindings: LOOKUP_BINDINGS }, constants);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}

const RECYCLE_BINDINGS = {
  shape: "uniform",
  followers: "read",
  rows: "read",
  ranges: "read",
  proposal: "read-write",
} as const;

/** Proposes a tree of what followed each token lately. */
export class Recycle extends Kernel<keyof typeof RECYCLE_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, proposal, recycle];
    const constants = { ...PROPOSAL_CONSTANTS, FOLLOWERS };
    super(device, { name: "drafting/recycle", code, bindings: RECYCLE_BINDINGS }, constants);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}

/** A node of the tree that followers are put on. */
export interface TemplateNode {
  /** The number of the node that it continues, before it; -1: the row that the tree grows on. */
  parent: number;
  /** Which of its parent's followers it is, from 0 on. */
  rank: number;
  /** From 1 on. */
  depth: number;
}

/** Bytes of the `Template` uniform. */
export const TEMPLATE_BYTES = 16 + WORKGROUP * 4;
const ON_THE_ROW = 0xff;

/** Contents of the `Template` uniform. */
export function encodeTemplate(nodes: readonly TemplateNode[]): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(TEMPLATE_BYTES / 4);
  words.set([nodes.length, Math.max(0, ...nodes.map(({ depth }) => depth))]);
  for (const [i, { parent, rank, depth }] of nodes.entries()) {
    words[4 + i] = (parent < 0 ? ON_THE_ROW : parent) | (rank << 8) | (depth << 16);
  }
  return words;
}

const TOP_IDS_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  rows: "read",
  logits: "read",
  followers: "read-write",
  targets: "read-write",
} as const;

/** Learns what follows each row's token, and chooses the likeliest. */
export class TopIds extends Kernel<keyof typeof TOP_IDS_BINDINGS> {
  constructor(device: Device) {
    const constants = { ...COMMON_CONSTANTS, FOLLOWERS, THREADS: device.info.software ? WORKGROUP : FILTER_THREADS };
    super(
      device,
      { name: "drafting/top_ids", code: [rows, best, topFew, topIds], bindings: TOP_IDS_BINDINGS },
      constants,
    );
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}

const EXIT_TOPS_BINDINGS = {
  range: "offset-uniform",
  shape: "uniform",
  samplings: "read",
  rows: "read",
  scores: "read",
  filters: "read",
  tops: "read-write",
} as const;

/** Bytes of a row's best choices. */
export const TOPS_BYTES = FOLLOWERS * 8;

/** The best choices of draft rows. */
export class ExitTops extends Kernel {
  /** @param hot scores are those of a table of ids */
  constructor(device: Device, hot = false) {
    const ids = withIds(EXIT_TOPS_BINDINGS, hot);
    const code = [rows, scores, ids.code, noise, best, runs, topFew, exitTops];
    const name = `drafting/exit_tops${hot ? "_hot" : ""}`;
    const constants = { ...COMMON_CONSTANTS, IDS_PER_THREAD, FOLLOWERS, THREADS: WORKGROUP, ...ids.constants };
    super(device, { name, code, bindings: ids.bindings }, constants);
  }

  /** One workgroup a row. */
  dispatch(recorder: Recorder, group: GPUBindGroup, rows: RowSet): void {
    this.record(recorder, group, rows.range, [rows.count]);
  }
}

const BRANCH_BINDINGS = {
  settings: "uniform",
  tops: "read",
  rows: "read",
  ranges: "read",
  proposal: "read-write",
} as const;

/** Proposes the second choices of a chain of drafts where they are likeliest. */
export class Branch extends Kernel<keyof typeof BRANCH_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, state, best, proposal, branch];
    const constants = { ...PROPOSAL_CONSTANTS, FOLLOWERS };
    super(device, { name: "drafting/branch", code, bindings: BRANCH_BINDINGS }, constants);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}

const CATCH_UP_BINDINGS = {
  state: "read",
  history: "read",
  followed: "read-write",
  rows: "read-write",
  ranges: "read-write",
  pages: "read",
  settings: "uniform",
} as const;

/** Makes rows of the text that a second model has not seen. */
export class CatchUp extends Kernel<keyof typeof CATCH_UP_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, pages, state, catchUp];
    super(device, { name: "drafting/catch_up", code, bindings: CATCH_UP_BINDINGS }, STATE_CONSTANTS);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}

const FOLLOW_BINDINGS = { state: "read", followed: "read-write" } as const;

/** Notes what a second model has seen. */
export class Follow extends Kernel<keyof typeof FOLLOW_BINDINGS> {
  constructor(device: Device) {
    super(device, { name: "drafting/follow", code: [state, follow], bindings: FOLLOW_BINDINGS }, STATE_CONSTANTS);
  }

  dispatch(recorder: Recorder, group: GPUBindGroup): void {
    this.record(recorder, group, undefined, [1]);
  }
}
