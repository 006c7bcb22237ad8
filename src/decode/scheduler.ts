/**
 * The round: draft, verify, accept, as in LayerSkip (Elhoushi et al. 2024, section 4), in one submission.
 *
 * Everything a round decides (how many tokens to draft, what they are, how many are accepted) is decided and kept on the
 * GPU. The host records the same commands whatever happens there and reads one small report.
 */

import type { Forward } from "../forward/forward.ts";
import type { RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { RANGE_VERIFY, RANGE_VERIFY_EARLY, ROW_CAPACITY } from "../kernels/constants.ts";
import type { RowSet } from "../kernels/kernel.ts";
import type { Report, RoundSettings } from "../kernels/layer_skip.ts";
import type { RoundState } from "./round_state.ts";

/** How a round drafts: `draftLength` tokens with layers [0, exitLayer). */
export interface RoundPlan {
  exitLayer: number;
  draftLength: number;
}

/** Plain decoding as a round: no drafts and an exit after the last layer, so that nothing is left to verify. */
export function plainPlan(layers: number): RoundPlan {
  return { exitLayer: layers, draftLength: 0 };
}

export class Scheduler {
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #state: RoundState;
  /** Compute dispatches recorded so far. */
  dispatches = 0;

  constructor(device: Device, forward: Forward, table: RowTable, state: RoundState) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#state = state;
  }

  /** Compiles what prompts of any length and rounds of this plan need. */
  async prepare({ draftLength }: RoundPlan): Promise<void> {
    const rowCounts = new Set([1, draftLength + 1, ROW_CAPACITY]);
    await Promise.all([this.#forward.prepare([...rowCounts]), this.#state.prepare()]);
  }

  /**
   * Runs the prompt through all layers, a chunk a submission; the last one emits the first token.
   * @param stop asked between chunks
   * @returns undefined when it was stopped
   */
  async prefill(ids: readonly number[], settings: RoundSettings, stop: () => boolean): Promise<Report | undefined> {
    const { layers } = this.#forward.spec;
    this.#state.begin(settings);
    // Two chunks in flight: the GPU never idles, and a stop takes effect within two chunks.
    let chunkBefore: Promise<unknown> = Promise.resolve();
    for (let start = 0; start < ids.length; start += ROW_CAPACITY) {
      if (stop()) return undefined;
      const chunkIds = ids.slice(start, start + ROW_CAPACITY);
      const { chunk, last } = this.#table.writeChunk(chunkIds, start);
      const recorder = new Recorder(this.#device.handle, "prefill");
      this.#forward.forward(recorder, chunk, 0, layers);
      if (start + chunkIds.length === ids.length) {
        this.#forward.argmax(recorder, last);
        this.#state.selectTarget(recorder, last);
        this.#state.accept(recorder, last);
      }
      this.#submit(recorder);
      await chunkBefore;
      chunkBefore = this.#device.handle.queue.onSubmittedWorkDone().catch(() => {}); // the report tells what failed
    }
    return this.#state.report();
  }

  /**
   * Runs one round.
   * @param length committed tokens before it (an upper bound will do)
   */
  async round(plan: RoundPlan, length: number): Promise<Report> {
    const recorder = new Recorder(this.#device.handle, "round");
    this.#recordRound(recorder, plan, length);
    this.#submit(recorder);
    return this.#state.report();
  }

  #recordRound(recorder: Recorder, { exitLayer, draftLength }: RoundPlan, length: number): void {
    const model = this.#forward;
    const state = this.#state;
    state.plan(recorder);

    // Draft: each step takes the token that the step before chose through the early layers, and the exit's own choice
    // (final norm, head, argmax) becomes the token of the next row.
    for (let i = 0; i < draftLength; i++) {
      const row: RowSet = { range: i, count: 1, end: length + i + 1 };
      model.forward(recorder, row, 0, exitLayer);
      model.argmax(recorder, row);
      state.selectDraft(recorder, row);
    }

    // Verify: the last row has not been through the early layers yet; then all rows go on from their exit hidden states
    // through the remaining layers, once. The early layers' keys and values are those of the drafts.
    const end = length + draftLength + 1;
    const lastRow: RowSet = { range: RANGE_VERIFY_EARLY, count: 1, end };
    const allRows: RowSet = { range: RANGE_VERIFY, count: draftLength + 1, end };
    model.forward(recorder, lastRow, 0, exitLayer);
    model.forward(recorder, allRows, exitLayer, model.spec.layers);
    model.argmax(recorder, allRows);
    state.selectTarget(recorder, allRows);

    // Accept the longest agreeing run of drafts and one token of the full model's more. What was refused is rolled back by
    // the new length.
    state.accept(recorder, allRows);
  }

  #submit(recorder: Recorder): void {
    this.#device.submit(recorder);
    this.dispatches += recorder.dispatches;
  }
}
