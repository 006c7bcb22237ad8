/**
 * The round: draft, verify, accept, as in LayerSkip (Elhoushi et al. 2024, section 4), in one submission.
 *
 * Everything a round decides (how many tokens to draft, what they are, how many are accepted) is decided and kept on the
 * GPU. The host records the same commands whatever happens there and reads one small report.
 */

import type { Forward } from "../forward/forward.ts";
import type { PassRows, RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { PROMPT_CAPACITY, RANGE_VERIFY, RANGE_VERIFY_EARLY } from "../kernels/constants.ts";
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

/** Rows through a layer that a first submission of a prompt holds, and the fewest of any: a tile of the matmul. */
const FIRST_PREFILL_UNITS = 32;
const LEAST_PREFILL_UNITS = 32;

export class Scheduler {
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #state: RoundState;
  /** The prompt's way to the GPU; its unit is one row through one layer. */
  readonly #prefillQueue: PacedQueue;
  /** Compute dispatches recorded so far. */
  dispatches = 0;

  constructor(device: Device, forward: Forward, table: RowTable, state: RoundState) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#state = state;
    this.#prefillQueue = new PacedQueue(device, {
      first: FIRST_PREFILL_UNITS,
      least: LEAST_PREFILL_UNITS,
      most: PROMPT_CAPACITY * forward.spec.layers,
      inFlight: 2, // the GPU never idles, and a stop takes effect within two submissions
    });
  }

  /**
   * Compiles what prompts of any length and rounds of this plan need.
   * @returns the plan to follow: plain decoding where this device cannot verify several rows in one pass
   */
  async prepare(plan: RoundPlan): Promise<RoundPlan> {
    const rowCounts = new Set([1, plan.draftLength + 1]);
    await Promise.all([this.#forward.prepare([...rowCounts]), this.#state.prepare()]);
    return this.#forward.takesRowsTogether ? plan : plainPlan(this.#forward.spec.layers);
  }

  /**
   * Runs the prompt through all layers, in chunks; the last one emits the first token.
   *
   * A submission holds as many rows and layers as this device computes in a moment. No result depends on how the prompt is
   * cut.
   * @param stop asked before each submission
   * @returns undefined when it was stopped
   */
  async prefill(ids: readonly number[], settings: RoundSettings, stop: () => boolean): Promise<Report | undefined> {
    const { layers } = this.#forward.spec;
    const queue = this.#prefillQueue;
    this.#state.begin(settings);
    for (let start = 0; start < ids.length; ) {
      const rows = Math.min(PROMPT_CAPACITY, queue.units - (queue.units % LEAST_PREFILL_UNITS));
      const chunkIds = ids.slice(start, start + rows);
      const { chunk, last } = this.#table.writeChunk(chunkIds, start);
      start += chunk.count;
      for (let layer = 0; layer < layers; ) {
        if (stop()) return undefined;
        const toLayer = Math.min(layers, layer + Math.max(1, Math.floor(queue.units / chunk.count)));
        const recorder = new Recorder(this.#device.handle, "prefill");
        this.#forward.forward(recorder, chunk, layer, toLayer);
        if (start === ids.length && toLayer === layers) {
          this.#forward.argmax(recorder, last);
          this.#state.selectTarget(recorder, last);
          this.#state.accept(recorder, last);
        }
        await queue.submit(recorder, chunk.count * (toLayer - layer));
        this.dispatches += recorder.dispatches;
        layer = toLayer;
      }
    }
    return this.#state.report();
  }

  /**
   * Runs one round.
   * @param length committed tokens before it (an upper bound will do)
   */
  async round(plan: RoundPlan, length: number): Promise<Report> {
    const recorder = new Recorder(this.#device.handle, "round");
    this.record(recorder, plan, length);
    this.#submit(recorder);
    return this.#state.report();
  }

  /** Records one round: the same commands whatever it decides on the GPU. */
  record(recorder: Recorder, { exitLayer, draftLength }: RoundPlan, length: number): void {
    const model = this.#forward;
    const state = this.#state;
    state.plan(recorder);

    // Draft: each step takes the token that the step before chose through the early layers, and the exit's own choice
    // (final norm, head, argmax) becomes the token of the next row.
    for (let i = 0; i < draftLength; i++) {
      const row: PassRows = { range: i, count: 1, end: length + i + 1, regime: "generated" };
      model.forward(recorder, row, 0, exitLayer);
      model.argmax(recorder, row);
      state.selectDraft(recorder, row);
    }

    // Verify: the last row has not been through the early layers yet; then all rows go on from their exit hidden states
    // through the remaining layers, once. The early layers' keys and values are those of the drafts.
    const end = length + draftLength + 1;
    const lastRow: PassRows = { range: RANGE_VERIFY_EARLY, count: 1, end, regime: "generated" };
    const allRows: PassRows = { range: RANGE_VERIFY, count: draftLength + 1, end, regime: "generated" };
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
