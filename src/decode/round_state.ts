/**
 * The state on the GPU of the texts that are generated, and the kernels that change it: plan and accept.
 *
 * Each text has a lane: its state, settings, report and history, each a run of a buffer that all lanes share. Only the accept kernel
 * writes the state; the host sets it once, when a generation begins, and reads reports.
 */

import type { Forward } from "../forward/forward.ts";
import { PathCommit } from "../forward/path_commit.ts";
import type { RowTable } from "../forward/row_table.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { BufferSlice } from "../gpu/pipelines.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { LANE_BYTES, LANES, NONE, ROW_CAPACITY } from "../kernels/constants.ts";
import { Graft, PROPOSAL_BYTES } from "../kernels/drafting.ts";
import type { RowSet } from "../kernels/kernel.ts";
import {
  Accept,
  BATCH_BYTES,
  encodeBatch,
  encodeSettings,
  initialState,
  PATH_BYTES,
  Plan,
  REPORT_BYTES,
  type RoundSettings,
  SETTINGS_BYTES,
  STATE_BYTES,
} from "../kernels/layer_skip.ts";

/** Most exits that a round compares with its own. */
export const MAX_SHADOW_EXITS = 4;

/** A run of a buffer. */
export interface Run {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** What one text has of the buffers. */
export interface LaneBuffers {
  /** `State`, the `Settings` uniform and `Report` (shaders/layer_skip/state.wgsl). */
  readonly state: Run;
  readonly settings: Run;
  readonly report: Run;
  /** The text: the token at each position, the pending one last. */
  readonly history: Run;
  /** Its lane of the page table. */
  readonly pages: BufferSlice;
}

export class RoundState {
  /** `[ROW_CAPACITY]` targets, of all lanes' rows */
  readonly targets: GPUBuffer;
  /** What a drafter proposes (shaders/drafting/proposal.wgsl), of a round of one lane. */
  readonly proposal: GPUBuffer;
  /** What shadow exits choose, `[ROW_CAPACITY]` ids each. */
  readonly shadows: readonly GPUBuffer[];
  readonly #device: Device;
  readonly #kernels: { plan: Plan; graft: Graft; accept: Accept };
  readonly #buffers: Record<"states" | "settings" | "reports" | "histories" | "batch", GPUBuffer>;
  readonly #lanes: readonly LaneBuffers[];
  readonly #plan: GPUBindGroup;
  readonly #graft: (lane: number) => GPUBindGroup;
  readonly #accept: (lane: number) => GPUBindGroup;
  readonly #path: PathCommit;
  readonly #vocabSize: number;
  readonly #lanePages: number;
  /** The lanes of the last round that was planned. */
  #batch = "";

  constructor(device: Device, forward: Forward, table: RowTable) {
    const { rows, ranges, pages } = table;
    this.#device = device;
    this.#vocabSize = forward.spec.vocabSize;
    this.#lanePages = table.lanePages;
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC } = BufferUsage;
    const allocate = (name: string, bytes: number, usage: number) =>
      device.ledger.allocate("round", name, bytes, usage);
    const historyBytes = aligned(forward.contextLength * 4);
    const reportBytes = aligned(REPORT_BYTES);
    const states = allocate("states", LANES * LANE_BYTES, STORAGE | COPY_DST);
    const settings = allocate("settings", LANES * LANE_BYTES, STORAGE | UNIFORM | COPY_DST);
    const reports = allocate("reports", LANES * reportBytes, STORAGE | COPY_SRC);
    const histories = allocate("histories", LANES * historyBytes, STORAGE | COPY_DST);
    const batch = allocate("batch", BATCH_BYTES, UNIFORM | COPY_DST);
    const targets = allocate("targets", ROW_CAPACITY * 4, STORAGE);
    const proposal = allocate("proposal", PROPOSAL_BYTES, STORAGE | COPY_DST);
    const path = allocate("path", PATH_BYTES, STORAGE);
    this.shadows = Array.from({ length: MAX_SHADOW_EXITS }, (_, i) =>
      allocate(`shadow ${i}`, ROW_CAPACITY * 4, STORAGE | COPY_SRC),
    );
    this.targets = targets;
    this.proposal = proposal;
    this.#buffers = { states, settings, reports, histories, batch };
    this.#lanes = Array.from({ length: LANES }, (_, lane) => ({
      state: { buffer: states, offset: lane * LANE_BYTES, size: STATE_BYTES },
      settings: { buffer: settings, offset: lane * LANE_BYTES, size: SETTINGS_BYTES },
      report: { buffer: reports, offset: lane * reportBytes, size: REPORT_BYTES },
      history: { buffer: histories, offset: lane * historyBytes, size: forward.contextLength * 4 },
      pages: table.pagesOf(lane),
    }));
    this.#path = new PathCommit(device, forward, path);
    const kernels = { plan: new Plan(device), graft: new Graft(device), accept: new Accept(device) };
    this.#kernels = kernels;
    this.#plan = kernels.plan.bind({ batch, settings, states, rows, ranges, pages });
    this.#graft = this.perLane(({ history: _, report: __, ...lane }) =>
      kernels.graft.bind({ ...lane, proposal, rows, ranges }),
    );
    this.#accept = this.perLane((lane) => kernels.accept.bind({ ...lane, range: ranges, rows, targets, path }));
  }

  /** @param trees what trees need too */
  async prepare(trees: boolean): Promise<void> {
    const { plan, graft, accept } = this.#kernels;
    await Promise.all([plan.prepare(), accept.prepare(), trees && graft.prepare(), trees && this.#path.prepare()]);
  }

  /** What a lane has of the buffers. */
  lane(lane: number): LaneBuffers {
    return this.#lanes[lane]!;
  }

  /** Binds a kernel to each lane, when it is first asked for. */
  perLane(bind: (lane: LaneBuffers, number: number) => GPUBindGroup): (lane: number) => GPUBindGroup {
    const groups: GPUBindGroup[] = [];
    return (lane) => {
      groups[lane] ??= bind(this.lane(lane), lane);
      return groups[lane];
    };
  }

  /**
   * Begins a generation: nothing emitted.
   * @param length tokens whose keys and values are committed already
   * @param pending the token after them, where there are any
   * @param emitted tokens that count as emitted already
   */
  begin(lane: number, settings: RoundSettings, length = 0, pending = NONE, emitted = 0): void {
    this.#write(this.lane(lane).state, initialState(length, pending, emitted));
    this.configure(lane, settings);
  }

  /** Tells which ids stand before all that will be emitted. */
  tellPrompt(lane: number, ids: readonly number[]): void {
    this.#write(this.lane(lane).history, new Uint32Array(ids));
  }

  /** What the next submissions' rounds are asked for; those submitted before keep theirs. */
  configure(lane: number, settings: RoundSettings): void {
    this.#write(this.lane(lane).settings, encodeSettings({ ...settings, vocabSize: this.#vocabSize, lane }));
  }

  /** Records the plan of a round of these lanes: draft lengths, rows, ranges. */
  plan(recorder: Recorder, lanes: readonly number[]): void {
    const batch = lanes.join();
    if (batch !== this.#batch) {
      this.#device.handle.queue.writeBuffer(this.#buffers.batch, 0, encodeBatch(lanes, this.#lanePages));
      this.#batch = batch;
    }
    this.#kernels.plan.dispatch(recorder, this.#plan);
  }

  /** Records that the rows of the proposal are added to those of the round's one lane. */
  graft(recorder: Recorder, lane: number): void {
    this.#kernels.graft.dispatch(recorder, this.#graft(lane));
  }

  /**
   * Records the acceptance of a lane's rows among `rows`: the committed sequence grows, the report is made.
   * @param tree rows that may not stand where they belong
   */
  accept(recorder: Recorder, rows: RowSet, tree: boolean, lane: number): void {
    this.#kernels.accept.dispatch(recorder, this.#accept(lane), rows);
    if (tree) this.#path.commit(recorder);
  }

  #write({ buffer, offset }: Run, words: Uint32Array<ArrayBuffer>): void {
    this.#device.handle.queue.writeBuffer(buffer, offset, words);
  }
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / LANE_BYTES) * LANE_BYTES;
}
