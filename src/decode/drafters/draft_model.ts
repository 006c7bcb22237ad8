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
import { LANE_BYTES, LANES, RANGE_CATCH_UP, RANGE_VERIFY_EARLY, ROW_CAPACITY } from "../../kernels/constants.ts";
import { CatchUp, Follow } from "../../kernels/drafting.ts";
import type { DraftingKit, DraftRound, GpuDrafter } from "./drafter.ts";

export class ModelDrafter implements GpuDrafter {
  readonly forward: Forward;
  readonly #kernels: { catchUp: CatchUp; follow: Follow };
  readonly #groups: Record<"catchUp" | "follow", (lane: number) => GPUBindGroup>;
  /** `[LANES]`, LANE_BYTES apart: tokens that it has seen. */
  readonly #followed: GPUBuffer;
  readonly #device: DraftingKit["device"];
  /** Tokens of each lane that it may not have seen, at most. */
  readonly #behind = Array<number>(LANES).fill(0);

  /** @param forward the second model, over the same row table */
  constructor({ device, table, state }: DraftingKit, forward: Forward) {
    const { STORAGE, COPY_DST } = BufferUsage;
    const followed = device.ledger.allocate("round", "followed", LANES * LANE_BYTES, STORAGE | COPY_DST);
    const { rows, ranges } = table;
    const kernels = { catchUp: new CatchUp(device), follow: new Follow(device) };
    const own = (lane: number) => ({ buffer: followed, offset: lane * LANE_BYTES, size: 4 });
    this.#device = device;
    this.forward = forward;
    this.#followed = followed;
    this.#kernels = kernels;
    this.#groups = {
      catchUp: state.perLane(({ report: _, ...lane }, number) =>
        kernels.catchUp.bind({ ...lane, followed: own(number), rows, ranges }),
      ),
      follow: state.perLane((lane, number) => kernels.follow.bind({ state: lane.state, followed: own(number) })),
    };
  }

  async prepare(): Promise<void> {
    const { catchUp, follow } = this.#kernels;
    await Promise.all([this.forward.prepare([1, ROW_CAPACITY]), catchUp.prepare(), follow.prepare()]);
  }

  begin(promptLength: number, lane: number): void {
    const words = new Uint32Array([promptLength]);
    this.#device.handle.queue.writeBuffer(this.#followed, lane * LANE_BYTES, words);
    this.#behind[lane] = 0;
  }

  missed(tokens: number, lane: number): void {
    this.#behind[lane]! += tokens;
  }

  catchUp(recorder: Recorder, length: number, own: boolean, lane: number): void {
    const behind = this.#behind[lane]!;
    if (!own && behind < ROW_CAPACITY) return; // a pass of few rows is not worth it, one of many takes too long
    for (let left = behind; left > 0; left -= ROW_CAPACITY) {
      this.#kernels.catchUp.dispatch(recorder, this.#groups.catchUp(lane));
      const rows: PassRows = { range: RANGE_CATCH_UP, count: ROW_CAPACITY, end: length, regime: "generated" };
      this.forward.forward(recorder, rows, 0, this.forward.spec.layers);
    }
    this.#behind[lane] = 0;
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

  accepted(recorder: Recorder, lane: number): void {
    this.#kernels.follow.dispatch(recorder, this.#groups.follow(lane));
  }
}
