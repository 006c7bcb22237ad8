/**
 * A generation's state on the GPU and the kernels that change it: plan, select, accept.
 *
 * Only the accept kernel writes the state; the host sets it once, when a generation begins, and reads reports.
 */

import type { RowTable } from "../forward/row_table.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { NONE, PROMPT_CAPACITY } from "../kernels/constants.ts";
import type { RowSet } from "../kernels/kernel.ts";
import {
  Accept,
  candidatesShape,
  decodeReport,
  encodeSettings,
  initialState,
  Plan,
  REPORT_BYTES,
  type Report,
  type RoundSettings,
  SETTINGS_BYTES,
  SelectDraft,
  SelectTarget,
  STATE_BYTES,
} from "../kernels/layer_skip.ts";

export class RoundState {
  readonly #device: Device;
  readonly #kernels: { plan: Plan; selectDraft: SelectDraft; selectTarget: SelectTarget; accept: Accept };
  readonly #groups: Record<"plan" | "selectDraft" | "selectTarget" | "accept", GPUBindGroup>;
  readonly #state: GPUBuffer;
  readonly #settings: GPUBuffer;
  readonly #report: GPUBuffer;
  readonly #readback: GPUBuffer;

  /** @param candidates what the head leaves for selection, `[rows][candidatesPerRow]` (logit, id) */
  constructor(device: Device, table: RowTable, candidates: GPUBuffer, candidatesPerRow: number) {
    this.#device = device;
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = BufferUsage;
    const allocate = (name: string, bytes: number, usage: number) =>
      device.ledger.allocate("round", name, bytes, usage);
    this.#state = allocate("state", STATE_BYTES, STORAGE | COPY_DST);
    this.#settings = allocate("settings", SETTINGS_BYTES, UNIFORM | COPY_DST);
    this.#report = allocate("report", REPORT_BYTES, STORAGE | COPY_SRC);
    this.#readback = allocate("report readback", REPORT_BYTES, MAP_READ | COPY_DST);
    const targets = allocate("targets", PROMPT_CAPACITY * 4, STORAGE);
    const shapeWords = candidatesShape(candidatesPerRow);
    const shape = allocate("candidates shape", shapeWords.byteLength, UNIFORM | COPY_DST);
    device.handle.queue.writeBuffer(shape, 0, shapeWords);

    const kernels = {
      plan: new Plan(device),
      selectDraft: new SelectDraft(device),
      selectTarget: new SelectTarget(device),
      accept: new Accept(device),
    };
    const { rows, ranges } = table;
    const state = this.#state;
    const settings = this.#settings;
    this.#kernels = kernels;
    this.#groups = {
      plan: kernels.plan.bind({ settings, state, rows, ranges }),
      selectDraft: kernels.selectDraft.bind({ range: ranges, shape, candidates, rows }),
      selectTarget: kernels.selectTarget.bind({ range: ranges, shape, candidates, targets }),
      accept: kernels.accept.bind({ range: ranges, settings, rows, targets, state, report: this.#report }),
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
    const { queue } = this.#device.handle;
    queue.writeBuffer(this.#state, 0, initialState(length, pending));
    queue.writeBuffer(this.#settings, 0, encodeSettings(settings));
  }

  /** Records the plan of a round: draft length, rows, ranges. */
  plan(recorder: Recorder): void {
    this.#kernels.plan.dispatch(recorder, this.#groups.plan);
  }

  /** Records the choice of a draft: the token of the next row. */
  selectDraft(recorder: Recorder, row: RowSet): void {
    this.#kernels.selectDraft.dispatch(recorder, this.#groups.selectDraft, row);
  }

  /** Records the full model's choice after each of `rows`. */
  selectTarget(recorder: Recorder, rows: RowSet): void {
    this.#kernels.selectTarget.dispatch(recorder, this.#groups.selectTarget, rows);
  }

  /** Records the acceptance of `rows`: the committed sequence grows, the report is made. */
  accept(recorder: Recorder, rows: RowSet): void {
    this.#kernels.accept.dispatch(recorder, this.#groups.accept, rows);
    recorder.copy(this.#report, 0, this.#readback, 0, REPORT_BYTES);
  }

  /** Reads the report of the last submission that accepted. */
  async report(): Promise<Report> {
    return decodeReport(await this.#device.read(this.#readback, REPORT_BYTES));
  }
}
