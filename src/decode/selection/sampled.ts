/**
 * Sampled selection: logits -> scores -> what is allowed -> an id, on the GPU. Also greedy selection where penalties, biases,
 * probabilities or log probabilities need the logits.
 *
 * By default draft and target draw the same noise, which depends on seed, position and id alone: the target's choice is what
 * plain decoding's would be, and a draft is accepted iff it equals it (Daliri, Musco, Suresh 2024). Under the ratio rule
 * (LayerSkip, section 4.3) the draft draws noise of its own and the target accepts it by the ratio of probabilities.
 */

import type { Forward } from "../../forward/forward.ts";
import type { PassRows, RowTable } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { Device } from "../../gpu/device.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import { RANGE_BYTES, ROW_CAPACITY } from "../../kernels/constants.ts";
import {
  Adjust,
  Confidence,
  confidenceSteps,
  encodeBias,
  encodeSampling,
  FILTER_BYTES,
  Filter,
  IN_PROMPT,
  isPenalised,
  LOG_PROBS_BYTES,
  LogProbs,
  Pick,
  Ratio,
  Remember,
  SAMPLING_BYTES,
  type SamplingSettings,
  STREAM,
  scoreGroups,
  scoresShape,
  wantedLogProbs,
} from "../../kernels/sampling.ts";
import type { RoundState } from "../round_state.ts";
import { CandidateChoice } from "./candidates.ts";
import type { DraftSelection, TargetSelection } from "./selection.ts";

/** What a generation wants of it. */
export interface SampledRequest {
  settings: Readonly<SamplingSettings>;
  /** `invariant`: the same ids as plain decoding's. `ratio`: the same distribution. */
  acceptRule: "invariant" | "ratio";
  /** Compute the probability of each draft, and stop drafting where a plan says how small is too small. */
  probabilities: boolean;
  /** Alternatives told of each token; undefined: no log probabilities. */
  topLogProbs: number | undefined;
  promptIds: readonly number[];
}

/** Buffers of scores of one side. */
interface Side {
  shape: GPUBuffer;
  scores: GPUBuffer;
  filters: GPUBuffer;
  groups: { adjust: GPUBindGroup; filter: GPUBindGroup; pick: GPUBindGroup };
}

const OWNER = "sampling";

export class SampledSelection implements DraftSelection, TargetSelection {
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #state: RoundState;
  readonly #kernels: {
    adjust: Adjust;
    filter: Filter;
    pick: Pick;
    ratio: Ratio;
    confidence: Confidence;
    logProbs: LogProbs;
    remember: Remember;
  };
  readonly #sampling: GPUBuffer;
  readonly #bias: GPUBuffer;
  readonly #counts: GPUBuffer;
  readonly #candidates: GPUBuffer;
  /** `[ROW_CAPACITY]` f32 */
  readonly probabilities: GPUBuffer;
  /** `[ROW_CAPACITY]` LogProbs */
  readonly logProbs: GPUBuffer;
  readonly #wanted: GPUBuffer;
  readonly #choice: CandidateChoice;
  readonly #target: Side;
  readonly #rememberGroup: GPUBindGroup;
  readonly #logProbsGroup: GPUBindGroup;
  readonly #confidenceGroups = new Map<Side, GPUBindGroup>();
  readonly #steps: GPUBuffer;
  /** The draft's own scores, where both are needed at once. */
  #ownDraft: { side: Side; ratio: GPUBindGroup } | undefined;
  #request: SampledRequest | undefined;

  /** The logits must have been prepared. */
  constructor(device: Device, forward: Forward, table: RowTable, state: RoundState, logits: GPUBuffer) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#state = state;
    this.#kernels = {
      adjust: new Adjust(device),
      filter: new Filter(device),
      pick: new Pick(device),
      ratio: new Ratio(device),
      confidence: new Confidence(device),
      logProbs: new LogProbs(device),
      remember: new Remember(device),
    };
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC } = BufferUsage;
    const allocate = (name: string, bytes: number, usage: number) => device.ledger.allocate(OWNER, name, bytes, usage);
    const { vocabSize } = forward.spec;
    const perRow = scoreGroups(vocabSize);
    this.#sampling = allocate("settings", SAMPLING_BYTES, UNIFORM | COPY_DST);
    this.#bias = allocate("bias", vocabSize * 4, STORAGE | COPY_DST);
    this.#counts = allocate("counts", vocabSize * 4, STORAGE | COPY_DST);
    this.#candidates = allocate("candidates", ROW_CAPACITY * perRow * 8, STORAGE);
    this.probabilities = allocate("probabilities", ROW_CAPACITY * 4, STORAGE | COPY_SRC);
    this.logProbs = allocate("log probabilities", ROW_CAPACITY * LOG_PROBS_BYTES, STORAGE | COPY_SRC);
    this.#wanted = allocate("wanted log probabilities", 8, UNIFORM | COPY_DST);
    this.#steps = allocate("steps", ROW_CAPACITY * RANGE_BYTES, UNIFORM | COPY_DST);
    device.handle.queue.writeBuffer(this.#steps, 0, confidenceSteps());
    this.#choice = new CandidateChoice(device, OWNER, table, this.#candidates, perRow, state);
    this.#target = this.#side("scores", logits);
    this.#rememberGroup = this.#kernels.remember.bind({ report: state.report, counts: this.#counts });
    this.#logProbsGroup = this.#kernels.logProbs.bind({
      range: table.ranges,
      shape: this.#wanted,
      logits,
      targets: state.targets,
      logProbs: this.logProbs,
    });
  }

  /** Compiles what a generation needs and gives it the buffers it needs beyond others'. */
  async prepare(request: SampledRequest, logits: GPUBuffer): Promise<void> {
    const { adjust, filter, pick, ratio, confidence, logProbs, remember } = this.#kernels;
    if (request.acceptRule === "ratio" && !this.#ownDraft) {
      const bytes = ROW_CAPACITY * this.#forward.spec.vocabSize * 4;
      this.#ownDraft = await this.#device.allocating("scores of drafts", bytes, () => this.#bindRatio(logits));
    }
    await Promise.all([
      ...[adjust, filter, pick, this.#choice].map((kernel) => kernel.prepare()),
      request.acceptRule === "ratio" && ratio.prepare(),
      request.probabilities && confidence.prepare(),
      request.topLogProbs !== undefined && logProbs.prepare(),
      isPenalised(request.settings) && remember.prepare(),
    ]);
  }

  /** Begins a generation; `prepare` has been called for it. */
  begin(request: SampledRequest): void {
    this.#request = request;
    const { settings, promptIds, acceptRule, probabilities, topLogProbs } = request;
    const { queue } = this.#device.handle;
    const { vocabSize } = this.#forward.spec;
    queue.writeBuffer(this.#sampling, 0, encodeSampling(settings));
    if (settings.logitBias.size > 0) queue.writeBuffer(this.#bias, 0, encodeBias(settings.logitBias, vocabSize));
    if (isPenalised(settings)) {
      const counts = new Uint32Array(vocabSize);
      for (const id of promptIds) counts[id] = IN_PROMPT;
      queue.writeBuffer(this.#counts, 0, counts);
    }
    const ratio = acceptRule === "ratio";
    queue.writeBuffer(this.#target.shape, 0, scoresShape(vocabSize, STREAM.target, ratio || probabilities));
    if (ratio) queue.writeBuffer(this.#ownDraft!.side.shape, 0, scoresShape(vocabSize, STREAM.draft, true));
    if (topLogProbs !== undefined) queue.writeBuffer(this.#wanted, 0, wantedLogProbs(vocabSize, topLogProbs));
  }

  shadow(recorder: Recorder, rows: PassRows, index: number): void {
    this.#score(recorder, this.#target, rows);
    this.#kernels.pick.dispatch(recorder, this.#target.groups.pick, rows, this.#forward.spec.vocabSize);
    this.#choice.shadow(recorder, rows, index);
  }

  draft(recorder: Recorder, row: PassRows): void {
    const { acceptRule, probabilities } = this.#request!;
    const side = acceptRule === "ratio" ? this.#ownDraft!.side : this.#target;
    this.#score(recorder, side, row);
    this.#kernels.pick.dispatch(recorder, side.groups.pick, row, this.#forward.spec.vocabSize);
    this.#choice.draft(recorder, row);
    // A draft step's row has the step's number.
    if (probabilities) this.#kernels.confidence.dispatch(recorder, this.#confidence(side), row.range);
  }

  target(recorder: Recorder, rows: PassRows): void {
    const { vocabSize } = this.#forward.spec;
    this.#score(recorder, this.#target, rows);
    if (this.#request!.acceptRule === "ratio") {
      this.#kernels.ratio.dispatch(recorder, this.#ownDraft!.ratio, rows, vocabSize);
    } else {
      this.#kernels.pick.dispatch(recorder, this.#target.groups.pick, rows, vocabSize);
    }
    this.#choice.target(recorder, rows);
  }

  accepted(recorder: Recorder, rows: PassRows): void {
    const { settings, topLogProbs } = this.#request!;
    if (isPenalised(settings)) this.#kernels.remember.dispatch(recorder, this.#rememberGroup);
    if (topLogProbs !== undefined) this.#kernels.logProbs.dispatch(recorder, this.#logProbsGroup, rows);
  }

  #score(recorder: Recorder, side: Side, rows: PassRows): void {
    this.#forward.logits(recorder, rows);
    this.#kernels.adjust.dispatch(recorder, side.groups.adjust, rows, this.#forward.spec.vocabSize);
    this.#kernels.filter.dispatch(recorder, side.groups.filter, rows);
  }

  #side(name: string, logits: GPUBuffer): Side {
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    const { vocabSize } = this.#forward.spec;
    const allocate = (what: string, bytes: number, usage: number) =>
      this.#device.ledger.allocate(OWNER, `${name}${what}`, bytes, usage);
    const shape = allocate(" shape", 16, UNIFORM | COPY_DST);
    const scores = allocate("", ROW_CAPACITY * vocabSize * 4, STORAGE);
    const peaks = allocate(" peaks", ROW_CAPACITY * scoreGroups(vocabSize) * 4, STORAGE);
    const filters = allocate(" filters", ROW_CAPACITY * FILTER_BYTES, STORAGE);
    const { adjust, filter, pick } = this.#kernels;
    const shared = { range: this.#table.ranges, shape, sampling: this.#sampling };
    const { rows } = this.#table;
    return {
      shape,
      scores,
      filters,
      groups: {
        adjust: adjust.bind({ ...shared, rows, logits, bias: this.#bias, counts: this.#counts, scores, peaks }),
        filter: filter.bind({ ...shared, scores, peaks, filters }),
        pick: pick.bind({ ...shared, rows, scores, peaks, filters, candidates: this.#candidates }),
      },
    };
  }

  #bindRatio(logits: GPUBuffer): { side: Side; ratio: GPUBindGroup } {
    const side = this.#side("draft scores", logits);
    const { shape, scores, filters } = this.#target;
    const ratio = this.#kernels.ratio.bind({
      range: this.#table.ranges,
      rows: this.#table.rows,
      sampling: this.#sampling,
      candidates: this.#candidates,
      ...{ shape, scores, filters, draftScores: side.scores, draftFilters: side.filters },
    });
    return { side, ratio };
  }

  #confidence(side: Side): GPUBindGroup {
    let group = this.#confidenceGroups.get(side);
    if (!group) {
      const { shape, scores, filters } = side;
      const { rows, ranges } = this.#table;
      const { settings } = this.#state;
      group = this.#kernels.confidence.bind({
        step: this.#steps,
        ...{ shape, settings, rows, scores, filters, ranges, probabilities: this.probabilities },
      });
      this.#confidenceGroups.set(side, group);
    }
    return group;
  }
}
