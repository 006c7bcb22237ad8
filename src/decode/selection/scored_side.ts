/**
 * One side of sampling, draft or target: logits -> scores -> what is allowed -> candidates, over all ids or those of a table,
 * with buffers of its own.
 */

import type { PassRows, RowTable } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { Device } from "../../gpu/device.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import { ROW_CAPACITY } from "../../kernels/constants.ts";
import { ExitTops } from "../../kernels/drafting.ts";
import { Adjust, Confidence, FILTER_BYTES, Filter, Pick, scoreGroups, scoresShape } from "../../kernels/sampling.ts";
import type { RoundState } from "../round_state.ts";

/** Buffers of a generation that both sides read, and what a draft's confidence is told by. */
export interface SamplingBuffers {
  /** `[LANES]` Sampling */
  samplings: GPUBuffer;
  /** `[LANES][vocabulary]` */
  bias: GPUBuffer;
  /** `[LANES][vocabulary]` */
  counts: GPUBuffer;
  /** The lanes' `Settings`. */
  state: RoundState;
  /** Steps of confidence.wgsl. */
  steps: GPUBuffer;
  /** `[ROW_CAPACITY]` */
  probabilities: GPUBuffer;
  /** `[ROW_CAPACITY]` best choices of drafts. */
  tops: GPUBuffer;
}

/** What it scores. */
export interface ScoredIds {
  /** How many. */
  count: number;
  /** `[ROW_CAPACITY][count]` */
  logits: GPUBuffer;
  /** The table that says which, ascending; absent: all. */
  hotIds?: GPUBuffer;
}

export class ScoredSide {
  readonly shape: GPUBuffer;
  /** `[ROW_CAPACITY][count]` */
  readonly scores: GPUBuffer;
  /** `[ROW_CAPACITY]` Filter */
  readonly filters: GPUBuffer;
  /** `[ROW_CAPACITY][candidatesPerRow]` (rank, id) */
  readonly candidates: GPUBuffer;
  readonly candidatesPerRow: number;
  readonly #device: Device;
  readonly #count: number;
  readonly #kernels: { adjust: Adjust; filter: Filter; pick: Pick; confidence: Confidence; tops: ExitTops };
  readonly #groups: Record<"adjust" | "filter" | "pick" | "tops", GPUBindGroup>;
  readonly #confidence: (lane: number) => GPUBindGroup;
  /** What the shape holds. */
  #shaped = "";

  /** @param owner whom the buffers are booked under */
  constructor(
    device: Device,
    owner: string,
    { rows, ranges }: RowTable,
    { samplings, bias, counts, state, steps, probabilities, tops: choices }: SamplingBuffers,
    { count, logits, hotIds }: ScoredIds,
  ) {
    this.#device = device;
    this.#count = count;
    this.candidatesPerRow = scoreGroups(count);
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    const perRow = (name: string, words: number) =>
      device.ledger.allocate(owner, name, ROW_CAPACITY * words * 4, STORAGE);
    const shape = device.ledger.allocate(owner, "scores shape", 16, UNIFORM | COPY_DST);
    const scores = perRow("scores", count);
    const peaks = perRow("peaks", this.candidatesPerRow);
    const filters = perRow("filters", FILTER_BYTES / 4);
    const candidates = perRow("candidates", this.candidatesPerRow * 2);
    const hot = hotIds !== undefined;
    const { adjust, filter, pick, confidence, tops } = {
      adjust: new Adjust(device, hot),
      filter: new Filter(device),
      pick: new Pick(device, hot),
      confidence: new Confidence(device, hot),
      tops: new ExitTops(device, hot),
    };
    const shared = { range: ranges, shape, samplings };
    const table = hotIds && { hotIds };
    this.shape = shape;
    this.scores = scores;
    this.filters = filters;
    this.candidates = candidates;
    this.#kernels = { adjust, filter, pick, confidence, tops };
    this.#groups = {
      adjust: adjust.bind({ ...shared, rows, logits, bias, counts, scores, peaks, ...table }),
      filter: filter.bind({ ...shared, scores, peaks, filters, rows }),
      pick: pick.bind({ ...shared, rows, scores, peaks, filters, candidates, ...table }),
      tops: tops.bind({ ...shared, rows, scores, filters, tops: choices, ...table }),
    };
    this.#confidence = state.perLane(({ settings }) =>
      confidence.bind({ step: steps, shape, settings, rows, scores, filters, ranges, probabilities, ...table }),
    );
  }

  /**
   * @param confidence also what tells how probable a draft is
   * @param branches also what tells the best choices of drafts
   */
  async prepare(confidence: boolean, branches: boolean): Promise<void> {
    const { adjust, filter, pick } = this.#kernels;
    await Promise.all([adjust, filter, pick].map((kernel) => kernel.prepare()));
    if (confidence) await this.#kernels.confidence.prepare();
    if (branches) await this.#kernels.tops.prepare();
  }

  /**
   * What the next submissions' scores are for.
   * @param stream which noise it draws
   * @param wantsMass whether probabilities are told of what it allows
   */
  turnTo(stream: number, wantsMass: boolean): void {
    const wanted = `${stream} ${wantsMass}`;
    if (wanted === this.#shaped) return;
    this.#shaped = wanted;
    this.#device.handle.queue.writeBuffer(this.shape, 0, scoresShape(this.#count, stream, wantsMass));
  }

  /** Records scores and filters of rows whose logits are there. */
  score(recorder: Recorder, rows: PassRows): void {
    this.#kernels.adjust.dispatch(recorder, this.#groups.adjust, rows, this.#count);
    this.#kernels.filter.dispatch(recorder, this.#groups.filter, rows);
  }

  /** Records the first stage of the choice by score and noise. */
  pick(recorder: Recorder, rows: PassRows): void {
    this.#kernels.pick.dispatch(recorder, this.#groups.pick, rows, this.#count);
  }

  /** Records the best choices of rows that have been scored. */
  bestChoices(recorder: Recorder, rows: PassRows): void {
    this.#kernels.tops.dispatch(recorder, this.#groups.tops, rows);
  }

  /** Records how probable the draft of a step is, whose row has the step's number, and whether drafting goes on. */
  confidence(recorder: Recorder, row: PassRows, lane: number): void {
    this.#kernels.confidence.dispatch(recorder, this.#confidence(lane), row.range);
  }
}
