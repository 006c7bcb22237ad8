/** The second stage of every selection: the best of a row's candidates becomes a draft or a target. */

import type { RowTable } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { Device } from "../../gpu/device.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import type { RowSet } from "../../kernels/kernel.ts";
import { candidatesShape, SelectDraft, SelectTarget } from "../../kernels/layer_skip.ts";

export class CandidateChoice {
  readonly #selectDraft: SelectDraft;
  readonly #selectTarget: SelectTarget;
  readonly #groups: { draft: GPUBindGroup; target: GPUBindGroup; shadows: GPUBindGroup[] };

  /**
   * @param owner whom the buffers are booked under
   * @param candidates `[rows][perRow]` (rank, id)
   * @param targets `[rows]` ids, written
   * @param shadows the same of each shadow exit
   * @param hotIds table whose places a draft's candidates carry instead of ids
   */
  constructor(
    device: Device,
    owner: string,
    { rows, ranges }: RowTable,
    candidates: GPUBuffer,
    perRow: number,
    { targets, shadows }: { targets: GPUBuffer; shadows: readonly GPUBuffer[] },
    hotIds?: GPUBuffer,
  ) {
    this.#selectDraft = new SelectDraft(device, hotIds !== undefined);
    this.#selectTarget = new SelectTarget(device);
    const words = candidatesShape(perRow);
    const { UNIFORM, COPY_DST } = BufferUsage;
    const shape = device.ledger.allocate(owner, "candidates shape", words.byteLength, UNIFORM | COPY_DST);
    device.handle.queue.writeBuffer(shape, 0, words);
    const bindTarget = (into: GPUBuffer) =>
      this.#selectTarget.bind({ range: ranges, shape, candidates, targets: into });
    this.#groups = {
      draft: this.#selectDraft.bind({ range: ranges, shape, candidates, rows, ...(hotIds && { hotIds }) }),
      target: bindTarget(targets),
      shadows: shadows.map(bindTarget),
    };
  }

  async prepare(): Promise<void> {
    await Promise.all([this.#selectDraft.prepare(), this.#selectTarget.prepare()]);
  }

  draft(recorder: Recorder, row: RowSet): void {
    this.#selectDraft.dispatch(recorder, this.#groups.draft, row);
  }

  target(recorder: Recorder, rows: RowSet): void {
    this.#selectTarget.dispatch(recorder, this.#groups.target, rows);
  }

  shadow(recorder: Recorder, rows: RowSet, index: number): void {
    this.#selectTarget.dispatch(recorder, this.#groups.shadows[index]!, rows);
  }
}
