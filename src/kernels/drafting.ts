/** The kernels of drafts that are trees: what is proposed becomes rows, what is accepted moves into place (shaders/drafting/). */

import commit from "../../shaders/drafting/commit.wgsl?raw";
import graft from "../../shaders/drafting/graft.wgsl?raw";
import proposal from "../../shaders/drafting/proposal.wgsl?raw";
import state from "../../shaders/layer_skip/state.wgsl?raw";
import rows from "../../shaders/rows/rows.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { NONE, PROPOSAL_CAPACITY, PROPOSED, STATE_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel } from "./kernel.ts";

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
    const continued = parent === -1 ? 0 : PROPOSED + (isWord(parent) ? parent : PROPOSAL_CAPACITY);
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
} as const;

/** Makes rows of what is proposed. */
export class Graft extends Kernel<keyof typeof GRAFT_BINDINGS> {
  constructor(device: Device) {
    const code = [rows, state, proposal, graft];
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
