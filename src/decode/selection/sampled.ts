/**
 * Sampled selection: logits -> scores -> what is allowed -> an id, on the GPU. Also greedy selection where penalties, biases,
 * probabilities or log probabilities need the logits.
 *
 * By default draft and target draw the same noise, which depends on seed, position and id alone: the target's choice is what
 * plain decoding's would be, and a draft is accepted iff it equals it (Daliri, Musco, Suresh 2024). Under the ratio rule
 * (LayerSkip, section 4.3) the draft draws noise of its own and the target accepts it by the ratio of probabilities.
 */

import type { Forward } from "../../forward/forward.ts";
import type { Head } from "../../forward/head.ts";
import type { HotColumns } from "../../forward/hot_columns.ts";
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

/** A head that drafts use instead of the model's: that of hot ids, of a second model, or of an exit adapter. */
export interface DraftHead {
  /** Whom what is made for it is booked under: it goes with it. */
  owner: string;
  head: Head;
  /** Absent: over all ids. */
  columns?: HotColumns | undefined;
}

/** The heads of drafts, where they are not the model's: of drafts of all kinds but one, and of those of the exit adapter. */
export interface DraftHeads {
  hot: DraftHead | undefined;
  exit: DraftHead | undefined;
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
  readonly #byHead = new WeakMap<Head, OwnDraft>();
  #request: SampledRequest | undefined;
  /** The drafts of this generation, where they are scored apart, and those of the exit adapter. */
  #own: OwnDraft | undefined;
  #exit: OwnDraft | undefined;

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
   * @param heads those that drafts use, where they are not the model's
   */
  async prepare(request: SampledRequest, { hot, exit }: DraftHeads): Promise<void> {
    const { settings, acceptRule, probabilities, branches, topLogProbs } = request;
    const { ratio, logProbs, remember } = this.#kernels;
    const ruled = acceptRule === "ratio";
    if (ruled && !this.#ratio) {
      const bytes = ROW_CAPACITY * this.#forward.spec.vocabSize * 4;
      this.#ratio = await this.#device.allocating("scores of drafts", bytes, () => this.#bindRatio());
    }
    const own = ruled ? this.#ratio : hot && (await this.#by(hot));
    const drafts = [own, exit && (await this.#by(exit))];
    await Promise.all([
      this.#target.prepare(probabilities, branches),
      this.#choice.prepare(),
      ...drafts.flatMap((draft) => [draft?.side.prepare(probabilities, branches), draft?.choice.prepare()]),
      ruled && ratio.prepare(),
      topLogProbs !== undefined && logProbs.prepare(),
      isPenalised(settings) && remember.prepare(),
    ]);
  }

  /** Begins a generation; `prepare` has been called for it. */
  begin(request: SampledRequest, { hot, exit }: DraftHeads): void {
    const { settings, promptIds, acceptRule, probabilities, topLogProbs } = request;
    const ruled = acceptRule === "ratio";
    this.#request = request;
    this.#own = ruled ? this.#ratio : hot && this.#byHead.get(hot.head);
    this.#exit = exit && this.#byHead.get(exit.head);
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
    for (const draft of [this.#own, this.#exit]) {
      draft?.side.begin(ruled ? STREAM.draft : STREAM.target, ruled || probabilities);
    }
    if (topLogProbs !== undefined) queue.writeBuffer(this.#wanted, 0, wantedLogProbs(vocabSize, topLogProbs));
  }

  draft(recorder: Recorder, row: PassRows): void {
    const whole = { head: this.#forward.head, side: this.#target, choice: this.#choice };
    this.#draft(recorder, row, this.#own ?? whole);
  }

  bestChoices(recorder: Recorder, rows: PassRows): GPUBuffer {
    (this.#own?.side ?? this.#target).bestChoices(recorder, rows);
    return this.choices;
  }

  /** Chooses drafts from what the exit adapter has made. */
  readonly exitDraft: DraftSelection = {
    draft: (recorder, row) => this.#draft(recorder, row, this.#exit!),
    bestChoices: (recorder, rows) => {
      this.#exit!.side.bestChoices(recorder, rows);
      return this.choices;
    },
  };

  #draft(recorder: Recorder, row: PassRows, { head, side, choice }: OwnDraft): void {
    head.logits(recorder, row);
    side.score(recorder, row);
    side.pick(recorder, row);
    choice.draft(recorder, row);
    if (this.#request!.probabilities) side.confidence(recorder, row);
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

  /** Drafts by a head, made when it is first asked for. */
  async #by(hot: DraftHead): Promise<OwnDraft> {
    const { owner, head, columns } = hot;
    const made = this.#byHead.get(head);
    if (made) return made;
    const bytes = ROW_CAPACITY * head.size * 4;
    const logits = await head.allocateLogits();
    const draft = await this.#device.allocating("scores of drafts", bytes, () => {
      const ids = { count: head.size, logits, ...(columns && { hotIds: columns.ids }) };
      const side = new ScoredSide(this.#device, owner, this.#table, this.#buffers, ids);
      return this.#ownDraft(owner, head, side);
    });
    this.#byHead.set(head, draft);
    return draft;
  }

  #ownDraft(owner: string, head: Head, side: ScoredSide): OwnDraft {
    const { candidates, candidatesPerRow } = side;
    return {
      ...{ head, side },
      choice: new CandidateChoice(this.#device, owner, this.#table, candidates, candidatesPerRow, this.#state),
    };
  }
}
