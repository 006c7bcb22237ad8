/**
 * A second, smaller model drafts (speculative decoding: Leviathan et al. 2023, section 2; Chen et al. 2023). It has the same
 * tokenizer, works on the same rows and keeps keys and values of its own.
 *
 * It goes through every row of its rounds, the last draft too, so that whatever is accepted, its cache has it. Tokens that others
 * drafted it catches up with before it drafts again.
 */

import type { Forward } from "../../forward/forward.ts";
import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import { RANGE_CATCH_UP, RANGE_VERIFY_EARLY, ROW_CAPACITY } from "../../kernels/constants.ts";
import { CatchUp, Follow } from "../../kernels/drafting.ts";
import type { DraftingKit, DraftRound, GpuDrafter } from "./drafter.ts";

export class ModelDrafter implements GpuDrafter {
  readonly forward: Forward;
  readonly #kernels: { catchUp: CatchUp; follow: Follow };
  readonly #groups: { catchUp: GPUBindGroup; follow: GPUBindGroup };
  readonly #followed: GPUBuffer;
  readonly #device: DraftingKit["device"];
  /** Tokens that it may not have seen, at most. */
  #behind = 0;

  /** @param forward the second model, over the same row table */
  constructor({ device, table, state }: DraftingKit, forward: Forward) {
    const { STORAGE, COPY_DST } = BufferUsage;
    const followed = device.ledger.allocate("round", "followed", 4, STORAGE | COPY_DST);
    const { rows, ranges, pages } = table;
    this.#device = device;
    this.forward = forward;
    this.#followed = followed;
    this.#kernels = { catchUp: new CatchUp(device), follow: new Follow(device) };
    this.#groups = {
      catchUp: this.#kernels.catchUp.bind({
        ...{ state: state.buffer, history: state.history, followed },
        ...{ rows, ranges, pages },
      }),
      follow: this.#kernels.follow.bind({ state: state.buffer, followed }),
    };
  }

  async prepare(): Promise<void> {
    const { catchUp, follow } = this.#kernels;
    await Promise.all([this.forward.prepare([1, ROW_CAPACITY]), catchUp.prepare(), follow.prepare()]);
  }

  begin(promptLength: number): void {
    this.#device.handle.queue.writeBuffer(this.#followed, 0, new Uint32Array([promptLength]));
    this.#behind = 0;
  }

  missed(tokens: number): void {
    this.#behind += tokens;
  }

  catchUp(recorder: Recorder, length: number, own: boolean): void {
    if (!own && this.#behind < ROW_CAPACITY) return; // a pass of few rows is not worth it, one of many takes too long
    for (; this.#behind > 0; this.#behind -= ROW_CAPACITY) {
      this.#kernels.catchUp.dispatch(recorder, this.#groups.catchUp);
      const rows: PassRows = { range: RANGE_CATCH_UP, count: ROW_CAPACITY, end: length, regime: "generated" };
      this.forward.forward(recorder, rows, 0, this.forward.spec.layers);
    }
    this.#behind = 0;
  }

  draft(recorder: Recorder, { plan: { draftLength }, length, selection }: DraftRound): void {
    const { layers } = this.forward.spec;
    for (let i = 0; i < draftLength; i++) {
      const row: PassRows = { range: i, count: 1, end: length + i + 1, regime: "generated" };
      this.forward.forward(recorder, row, 0, layers);
      selection.draft(recorder, row);
    }
    const last: PassRows = { range: RANGE_VERIFY_EARLY, count: 1, end: length + draftLength + 1, regime: "generated" };
    this.forward.forward(recorder, last, 0, layers);
  }

  accepted(recorder: Recorder): void {
    this.#kernels.follow.dispatch(recorder, this.#groups.follow);
  }
}
