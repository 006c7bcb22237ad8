/**
 * A generation's state on the GPU and the kernels that change it: plan and accept.
 *
 * Only the accept kernel writes the state; the host sets it once, when a generation begins, and reads reports.
 */

import type { RowTable } from "../forward/row_table.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { NONE, ROW_CAPACITY } from "../kernels/constants.ts";
import type { RowSet } from "../kernels/kernel.ts";
import {
  Accept,
  encodeSettings,
  initialState,
  Plan,
  REPORT_BYTES,
  type RoundSettings,
  SETTINGS_BYTES,
  STATE_BYTES,
} from "../kernels/layer_skip.ts";

/** Most exits that a round compares with its own. */
export const MAX_SHADOW_EXITS = 4;

export class RoundState {
  /** The `Settings` uniform, the `Report` and `[ROW_CAPACITY]` targets (shaders/layer_skip/state.wgsl). */
  readonly settings: GPUBuffer;
  readonly report: GPUBuffer;
  readonly targets: GPUBuffer;
  /** What shadow exits choose, `[ROW_CAPACITY]` ids each. */
  readonly shadows: readonly GPUBuffer[];
  readonly #device: Device;
  readonly #kernels: { plan: Plan; accept: Accept };
  readonly #groups: { plan: GPUBindGroup; accept: GPUBindGroup };
  readonly #state: GPUBuffer;

  constructor(device: Device, { rows, ranges }: RowTable) {
    this.#device = device;
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
    this.#state = state;
    this.settings = settings;
    this.report = report;
    this.targets = targets;
    this.#kernels = { plan: new Plan(device), accept: new Accept(device) };
    this.#groups = {
      plan: this.#kernels.plan.bind({ settings, state, rows, ranges }),
      accept: this.#kernels.accept.bind({ range: ranges, settings, rows, targets, state, report }),
    };
  }

  async prepare(): Promise<void> {
    await Promise.all(Object.values(this.#kernels).map((kernel) => kernel.prepare()));
  }

  /**
   * Begins a generation: nothing emitted.
   * @param length tokens whose keys and values are committed already
   * @param pending the token after them, where there are any
   */
  begin(settings: RoundSettings, length = 0, pending = NONE): void {
    this.#device.handle.queue.writeBuffer(this.#state, 0, initialState(length, pending));
    this.configure(settings);
  }

  /** What the next submissions' rounds are asked for; those submitted before keep theirs. */
  configure(settings: RoundSettings): void {
    this.#device.handle.queue.writeBuffer(this.settings, 0, encodeSettings(settings));
  }

  /** Records the plan of a round: draft length, rows, ranges. */
  plan(recorder: Recorder): void {
    this.#kernels.plan.dispatch(recorder, this.#groups.plan);
  }

  /** Records the acceptance of `rows`: the committed sequence grows, the report is made. */
  accept(recorder: Recorder, rows: RowSet): void {
    this.#kernels.accept.dispatch(recorder, this.#groups.accept, rows);
  }
}
