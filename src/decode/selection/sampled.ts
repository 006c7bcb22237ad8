/**
 * Sampled selection: logits -> scores -> what is allowed -> an id, on the GPU. Also greedy selection where penalties, biases,
 * probabilities or log probabilities need the logits.
 *
 * By default draft and target draw the same noise, which depends on seed, position and id alone: the target's choice is what
 * plain decoding's would be, and a draft is accepted iff it equals it (Daliri, Musco, Suresh 2024). Under the ratio rule
 * (LayerSkip, section 4.3) the draft draws noise of its own and the target accepts it by the ratio of probabilities.
 */

import { type Forward, HOT_HEAD, type HotHead } from "../../forward/forward.ts";
import type { Head } from "../../forward/head.ts";
import type { PassRows, RowTable } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { Device } from "../../gpu/device.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import { RANGE_BYTES, ROW_CAPACITY } from "../../kernels/constants.ts";
import { TOPS_BYTES } from "../../kernels/drafting.ts";
import {
  confidenceSteps,
  encodeBias,
  encodeSampling,
  IN_PROMPT,
  isPenalised,
  LOG_PROBS_BYTES,
  LogProbs,
  Ratio,
  Remember,
  SAMPLING_BYTES,
  type SamplingSettings,
  STREAM,
  wantedLogProbs,
} from "../../kernels/sampling.ts";
import type { RoundState } from "../round_state.ts";
import { CandidateChoice } from "./candidates.ts";
import { type SamplingBuffers, ScoredSide } from "./scored_side.ts";
import type { DraftSelection, TargetSelection } from "./selection.ts";

/** What a generation wants of it. */
export interface SampledRequest {
  settings: Readonly<SamplingSettings>;
  /** `invariant`: the same ids as plain decoding's. `ratio`: the same distribution. */
  acceptRule: "invariant" | "ratio";
  /** Compute the probability of each draft, and stop drafting where a plan says how small is too small. */
  probabilities: boolean;
  /** Tell the best choices of drafts, for drafters that make branches of them. */
  branches: boolean;
  /** Alternatives told of each token; undefined: no log probabilities. */
  topLogProbs: number | undefined;
  promptIds: readonly number[];
}

/** A head that drafts use instead of the whole one: that of hot ids, or that of a second model. */
export interface DraftHead extends Pick<HotHead, "head">, Partial<Pick<HotHead, "columns">> {}

/** Whom what is made for a head is booked under; the buffers of a head of hot ids go with it. */
export function ownerOf({ columns }: DraftHead): string {
  return columns ? HOT_HEAD : "draft model";
}

/** Drafts that are scored apart from targets. */
interface OwnDraft {
  head: Head;
  side: ScoredSide;
  choice: CandidateChoice;
}

const OWNER = "sampling";

export class SampledSelection implements DraftSelection, TargetSelection {
  /** `[ROW_CAPACITY]` f32 */
  readonly probabilities: GPUBuffer;
  /** `[ROW_CAPACITY]` best choices of drafts (shaders/drafting/exit_tops.wgsl) */
  readonly choices: GPUBuffer;
  /** `[ROW_CAPACITY]` LogProbs */
  readonly logProbs: GPUBuffer;
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #state: RoundState;
  readonly #logits: GPUBuffer;
  readonly #kernels: { ratio: Ratio; logProbs: LogProbs; remember: Remember };
  readonly #buffers: SamplingBuffers;
  readonly #wanted: GPUBuffer;
  readonly #target: ScoredSide;
  readonly #choice: CandidateChoice;
  readonly #groups: { remember: GPUBindGroup; logProbs: GPUBindGroup };
  /** For the ratio rule, which needs the scores of both at once. */
  #ratio: (OwnDraft & { group: GPUBindGroup }) | undefined;
  /** For drafts by other heads. Those of hot ids are not asked for again once another size has taken their place. */
  readonly #byHead = new Map<Head, OwnDraft>();
  #request: SampledRequest | undefined;
  /** The drafts of this generation, where they are scored apart. */
  #own: OwnDraft | undefined;

  /** @param logits of all ids, prepared */
  constructor(device: Device, forward: Forward, table: RowTable, state: RoundState, logits: GPUBuffer) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#state = state;
    this.#logits = logits;
    this.#kernels = { ratio: new Ratio(device), logProbs: new LogProbs(device), remember: new Remember(device) };
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC } = BufferUsage;
    const allocate = (name: string, bytes: number, usage: number) => device.ledger.allocate(OWNER, name, bytes, usage);
    const { vocabSize } = forward.spec;
    this.probabilities = allocate("probabilities", ROW_CAPACITY * 4, STORAGE | COPY_SRC);
    this.choices = allocate("best choices", ROW_CAPACITY * TOPS_BYTES, STORAGE);
    this.logProbs = allocate("log probabilities", ROW_CAPACITY * LOG_PROBS_BYTES, STORAGE | COPY_SRC);
    this.#wanted = allocate("wanted log probabilities", 8, UNIFORM | COPY_DST);
    this.#buffers = {
      sampling: allocate("settings", SAMPLING_BYTES, UNIFORM | COPY_DST),
      bias: allocate("bias", vocabSize * 4, STORAGE | COPY_DST),
      counts: allocate("counts", vocabSize * 4, STORAGE | COPY_DST),
      settings: state.settings,
      steps: allocate("steps", ROW_CAPACITY * RANGE_BYTES, UNIFORM | COPY_DST),
      probabilities: this.probabilities,
      tops: this.choices,
    };
    device.handle.queue.writeBuffer(this.#buffers.steps, 0, confidenceSteps());
    this.#target = new ScoredSide(device, OWNER, table, this.#buffers, { count: vocabSize, logits });
    const { candidates, candidatesPerRow } = this.#target;
    this.#choice = new CandidateChoice(device, OWNER, table, candidates, candidatesPerRow, state);
    const { report, targets } = state;
    const [shape, range, logProbs] = [this.#wanted, table.ranges, this.logProbs];
    this.#groups = {
      remember: this.#kernels.remember.bind({ report, counts: this.#buffers.counts }),
      logProbs: this.#kernels.logProbs.bind({ range, shape, logits, targets, logProbs }),
    };
  }

  /**
   * Compiles what a generation needs and gives it the buffers it needs beyond others'.
   * @param hot the head that drafts use, where it is not the whole one
   */
  async prepare(request: SampledRequest, hot: DraftHead | undefined): Promise<void> {
    const { settings, acceptRule, probabilities, branches, topLogProbs } = request;
    const { ratio, logProbs, remember } = this.#kernels;
    const ruled = acceptRule === "ratio";
    if (ruled && !this.#ratio) {
      const bytes = ROW_CAPACITY * this.#forward.spec.vocabSize * 4;
      this.#ratio = await this.#device.allocating("scores of drafts", bytes, () => this.#bindRatio());
    }
    if (hot && !this.#byHead.has(hot.head)) {
      const bytes = ROW_CAPACITY * hot.head.size * 4;
      const logits = await hot.head.allocateLogits();
      const draft = await this.#device.allocating("scores of drafts", bytes, () => this.#bindHot(hot, logits));
      this.#byHead.set(hot.head, draft);
    }
    const own = ruled ? this.#ratio : hot && this.#byHead.get(hot.head);
    await Promise.all([
      this.#target.prepare(probabilities, branches),
      this.#choice.prepare(),
      own?.side.prepare(probabilities, branches),
      own?.choice.prepare(),
      ruled && ratio.prepare(),
      topLogProbs !== undefined && logProbs.prepare(),
      isPenalised(settings) && remember.prepare(),
    ]);
  }

  /** Begins a generation; `prepare` has been called for it. */
  begin(request: SampledRequest, hot: DraftHead | undefined): void {
    const { settings, promptIds, acceptRule, probabilities, topLogProbs } = request;
    const ruled = acceptRule === "ratio";
    this.#request = request;
    this.#own = ruled ? this.#ratio : hot && this.#byHead.get(hot.head);
    const { queue } = this.#device.handle;
    const { vocabSize } = this.#forward.spec;
    const { sampling, bias, counts } = this.#buffers;
    queue.writeBuffer(sampling, 0, encodeSampling(settings));
    if (settings.logitBias.size > 0) queue.writeBuffer(bias, 0, encodeBias(settings.logitBias, vocabSize));
    if (isPenalised(settings)) {
      const words = new Uint32Array(vocabSize);
      for (const id of promptIds) words[id] = IN_PROMPT;
      queue.writeBuffer(counts, 0, words);
    }
    this.#target.begin(STREAM.target, ruled || probabilities);
    this.#own?.side.begin(ruled ? STREAM.draft : STREAM.target, ruled || probabilities);
    if (topLogProbs !== undefined) queue.writeBuffer(this.#wanted, 0, wantedLogProbs(vocabSize, topLogProbs));
  }

  draft(recorder: Recorder, row: PassRows): void {
    const side = this.#own?.side ?? this.#target;
    (this.#own?.head ?? this.#forward.head).logits(recorder, row);
    side.score(recorder, row);
    side.pick(recorder, row);
    (this.#own?.choice ?? this.#choice).draft(recorder, row);
    if (this.#request!.probabilities) side.confidence(recorder, row);
  }

  bestChoices(recorder: Recorder, rows: PassRows): GPUBuffer {
    (this.#own?.side ?? this.#target).bestChoices(recorder, rows);
    return this.choices;
  }

  target(recorder: Recorder, rows: PassRows): void {
    this.#forward.head.logits(recorder, rows);
    this.#target.score(recorder, rows);
    if (this.#request!.acceptRule === "ratio") {
      this.#kernels.ratio.dispatch(recorder, this.#ratio!.group, rows, this.#forward.spec.vocabSize);
    } else {
      this.#target.pick(recorder, rows);
    }
    this.#choice.target(recorder, rows);
  }

  shadow(recorder: Recorder, rows: PassRows, index: number): void {
    this.#forward.head.logits(recorder, rows);
    this.#target.score(recorder, rows);
    this.#target.pick(recorder, rows);
    this.#choice.shadow(recorder, rows, index);
  }

  accepted(recorder: Recorder, rows: PassRows): void {
    const { settings, topLogProbs } = this.#request!;
    if (isPenalised(settings)) this.#kernels.remember.dispatch(recorder, this.#groups.remember);
    if (topLogProbs !== undefined) this.#kernels.logProbs.dispatch(recorder, this.#groups.logProbs, rows);
  }

  /** Records the log probabilities of targets that were chosen without the logits. */
  tellLogProbs(recorder: Recorder, rows: PassRows): void {
    this.#forward.head.logits(recorder, rows);
    this.#kernels.logProbs.dispatch(recorder, this.#groups.logProbs, rows);
  }

  #bindRatio(): OwnDraft & { group: GPUBindGroup } {
    const ids = { count: this.#forward.spec.vocabSize, logits: this.#logits };
    const own = this.#ownDraft(
      OWNER,
      this.#forward.head,
      new ScoredSide(this.#device, OWNER, this.#table, this.#buffers, ids),
    );
    const { shape, scores, filters, candidates } = this.#target;
    const group = this.#kernels.ratio.bind({
      range: this.#table.ranges,
      rows: this.#table.rows,
      sampling: this.#buffers.sampling,
      ...{ shape, scores, filters, candidates, draftScores: own.side.scores, draftFilters: own.side.filters },
    });
    return { ...own, group };
  }

  #bindHot(hot: DraftHead, logits: GPUBuffer): OwnDraft {
    const { head, columns } = hot;
    const ids = { count: head.size, logits, ...(columns && { hotIds: columns.ids }) };
    const side = new ScoredSide(this.#device, ownerOf(hot), this.#table, this.#buffers, ids);
    return this.#ownDraft(ownerOf(hot), head, side);
  }

  #ownDraft(owner: string, head: Head, side: ScoredSide): OwnDraft {
    const { candidates, candidatesPerRow } = side;
    return {
      ...{ head, side },
      choice: new CandidateChoice(this.#device, owner, this.#table, candidates, candidatesPerRow, this.#state),
    };
  }
}
