/**
 * A generation's state on the GPU and the kernels that change it: plan and accept.
 *
 * Only the accept kernel writes the state; the host sets it once, when a generation begins, and reads reports.
 */

import type { Forward } from "../forward/forward.ts";
import { PathCommit } from "../forward/path_commit.ts";
import type { RowTable } from "../forward/row_table.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { NONE, ROW_CAPACITY } from "../kernels/constants.ts";
import { Graft, PROPOSAL_BYTES } from "../kernels/drafting.ts";
import type { RowSet } from "../kernels/kernel.ts";
import {
  Accept,
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

export class RoundState {
  /** The `State`, the `Settings` uniform, the `Report` and `[ROW_CAPACITY]` targets (shaders/layer_skip/state.wgsl). */
  readonly buffer: GPUBuffer;
  readonly settings: GPUBuffer;
  readonly report: GPUBuffer;
  readonly targets: GPUBuffer;
  /** The text: the token at each position, the pending one last. */
  readonly history: GPUBuffer;
  /** What a drafter proposes (shaders/drafting/proposal.wgsl). */
  readonly proposal: GPUBuffer;
  /** What shadow exits choose, `[ROW_CAPACITY]` ids each. */
  readonly shadows: readonly GPUBuffer[];
  readonly #device: Device;
  readonly #kernels: { plan: Plan; graft: Graft; accept: Accept };
  readonly #groups: { plan: GPUBindGroup; graft: GPUBindGroup; accept: GPUBindGroup };
  readonly #path: PathCommit;
  readonly #vocabSize: number;

  constructor(device: Device, forward: Forward, { rows, ranges, pages }: RowTable) {
    const { contextLength } = forward;
    this.#device = device;
    this.#vocabSize = forward.spec.vocabSize;
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC } = BufferUsage;
    const allocate = (name: string, bytes: number, usage: number) =>
      device.ledger.allocate("round", name, bytes, usage);
    const state = allocate("state", STATE_BYTES, STORAGE | COPY_DST);
    const settings = allocate("settings", SETTINGS_BYTES, UNIFORM | COPY_DST);
    const report = allocate("report", REPORT_BYTES, STORAGE | COPY_SRC);
    const targets = allocate("targets", ROW_CAPACITY * 4, STORAGE);
    this.shadows = Array.from({ length: MAX_SHADOW_EXITS }, (_, i) =>
      allocate(`shadow ${i}`, ROW_CAPACITY * 4, STORAGE | COPY_SRC),
    );
    const history = allocate("history", contextLength * 4, STORAGE | COPY_DST);
    const proposal = allocate("proposal", PROPOSAL_BYTES, STORAGE | COPY_DST);
    const path = allocate("path", PATH_BYTES, STORAGE);
    this.buffer = state;
    this.history = history;
    this.proposal = proposal;
    this.settings = settings;
    this.report = report;
    this.targets = targets;
    this.#path = new PathCommit(device, forward, path);
    this.#kernels = { plan: new Plan(device), graft: new Graft(device), accept: new Accept(device) };
    this.#groups = {
      plan: this.#kernels.plan.bind({ settings, state, rows, ranges, pages }),
      graft: this.#kernels.graft.bind({ settings, state, proposal, rows, ranges, pages }),
      accept: this.#kernels.accept.bind({
        range: ranges,
        settings,
        rows,
        targets,
        state,
        report,
        path,
        history,
        pages,
      }),
    };
  }

  /** @param trees what trees need too */
  async prepare(trees: boolean): Promise<void> {
    const { plan, graft, accept } = this.#kernels;
    await Promise.all([plan.prepare(), accept.prepare(), trees && graft.prepare(), trees && this.#path.prepare()]);
  }

  /**
   * Begins a generation: nothing emitted.
   * @param length tokens whose keys and values are committed already
   * @param pending the token after them, where there are any
   * @param emitted tokens that count as emitted already
   */
  begin(settings: RoundSettings, length = 0, pending = NONE, emitted = 0): void {
    this.#device.handle.queue.writeBuffer(this.buffer, 0, initialState(length, pending, emitted));
    this.configure(settings);
  }

  /** Tells which ids stand before all that will be emitted. */
  tellPrompt(ids: readonly number[]): void {
    this.#device.handle.queue.writeBuffer(this.history, 0, new Uint32Array(ids));
  }

  /** What the next submissions' rounds are asked for; those submitted before keep theirs. */
  configure(settings: RoundSettings): void {
    const words = encodeSettings({ ...settings, vocabSize: this.#vocabSize });
    this.#device.handle.queue.writeBuffer(this.settings, 0, words);
  }

  /** Records the plan of a round: draft length, rows, ranges. */
  plan(recorder: Recorder): void {
    this.#kernels.plan.dispatch(recorder, this.#groups.plan);
  }

  /** Records that the rows of the proposal are added to the round's. */
  graft(recorder: Recorder): void {
    this.#kernels.graft.dispatch(recorder, this.#groups.graft);
  }

  /**
   * Records the acceptance of `rows`: the committed sequence grows, the report is made.
   * @param tree rows that may not stand where they belong
   */
  accept(recorder: Recorder, rows: RowSet, tree: boolean): void {
    this.#kernels.accept.dispatch(recorder, this.#groups.accept, rows);
    if (tree) this.#path.commit(recorder);
  }
}
